"""What is a number, the same in JSON and in CSV, whichever way it is parsed; and rows that have something else."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.parsing import Parsed, from_csv, from_json, from_rows
from market_data_pipeline.core.klines.table import FIELDS, INTEGER_FIELDS

NUMBERS = ["1", "0.00000000", "007.50", ".5", "5.", "-1.5", "-0", "1e-8", "1E+3", "9" * 25]
NO_NUMBERS = [
    "", " ", "1 ", " 1", "+1", "1_000", "1,5", "0x10", "nan", "NaN", "inf", "-inf", "Infinity", "1e400", "--1", "1-2",
    ".", "-", "1.2.3", "true", "null", "١٢", "1\t", "1\0", '"1"',
]  # fmt: skip
FLOATS = [name for name in FIELDS if name not in INTEGER_FIELDS]


def row(minute: int = 0, **fields: object) -> list[object]:
    """A row as REST sends it."""
    opened = minute * MINUTE_MS
    usual = dict.fromkeys(FIELDS, "1.0") | {"open_time": opened, "close_time": opened + 59_999, "trades": 3}
    return list((usual | fields).values())


def as_text(rows: list[list[object]]) -> bytes:
    """The compact JSON of REST."""
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()


def as_csv(rows: list[list[object]]) -> bytes:
    return "".join(",".join(map(str, fields)) + "\n" for fields in rows).encode()


def rows_with(changed: list[object]) -> list[list[object]]:
    """So many rows that they are not parsed as a few, with one in the middle put in."""
    return [*(row(minute) for minute in range(40)), changed, *(row(minute) for minute in range(41, 80))]


def every_way(rows: list[list[object]]) -> dict[str, Parsed]:
    return {
        "few": from_json(as_text(rows[40:41])),
        "many": from_json(as_text(rows)),
        "spaced": from_json(json.dumps(rows).encode()),
        "csv": from_csv(as_csv(rows)),
    }


@pytest.mark.parametrize("text", NUMBERS)
@pytest.mark.parametrize("name", ["open", "ignore"])
def test_a_number_is_one_in_every_way_to_the_bit(name: str, text: str) -> None:
    for way, parsed in every_way(rows_with(row(40, **{name: text}))).items():
        value = parsed.klines.column(name)[-1 if way == "few" else 40].as_py()
        assert (value, math.copysign(1, value)) == (float(text), math.copysign(1, float(text))), way
        assert parsed.unreadable == (), way


@pytest.mark.parametrize("text", [text for text in NO_NUMBERS if "," not in text])
@pytest.mark.parametrize("name", ["open", "ignore"])
def test_what_is_no_number_is_none_in_any_way_and_costs_its_row_alone(name: str, text: str) -> None:
    for way, parsed in every_way(rows_with(row(40, **{name: text}))).items():
        [bad] = parsed.unreadable
        assert (bad.open_time, bad.rule) == (40 * MINUTE_MS, f"{name} is not a number"), way
        assert parsed.klines.num_rows == (0 if way == "few" else 79), way


@pytest.mark.parametrize("value", [True, False, None, 1.0, [], {}, 7, ["1.0"]])
@pytest.mark.parametrize("name", ["close", "taker_quote_volume"])
def test_another_type_of_json_is_no_number_where_a_text_belongs(name: str, value: object) -> None:
    rows = rows_with(row(40, **{name: value}))
    for body in (as_text(rows[40:41]), as_text(rows)):
        [bad] = from_json(body).unreadable
        assert bad.rule == f"{name} is not a number"


@pytest.mark.parametrize("value", [True, None, "12", "0x10", 1.0, 12.5, 1 << 63, -(1 << 70), [3]])
@pytest.mark.parametrize("name", ["trades", "close_time"])
def test_another_type_of_json_is_no_integer(name: str, value: object) -> None:
    rows = rows_with(row(40, **{name: value}))
    for body in (as_text(rows[40:41]), as_text(rows)):
        [bad] = from_json(body).unreadable
        assert bad.rule == f"{name} is not a whole number"
        assert json.loads(bad.text) == row(40, **{name: value})


@pytest.mark.parametrize("text", ["0x10", "1.0", "1e3", " 3", "3 ", "+3", "", "-", "9" * 19, "9" * 5000, "true", '"3"'])
def test_another_text_of_csv_is_no_integer(text: str) -> None:
    [bad] = from_csv(as_csv(rows_with(row(40, trades=text)))).unreadable
    assert bad.rule == "trades is not a whole number"


def test_a_value_that_is_nested_deeply_costs_its_row_alone() -> None:
    nested: object = "1.0"
    for _ in range(3000):
        nested = [nested]
    [bad] = from_rows(rows_with(row(40, open=nested))).unreadable
    assert bad.rule == "open is not a number"


@pytest.mark.parametrize("odd", [b'"1.0"7,', b'7"1.0",'])
def test_digits_outside_of_their_quotes_are_no_part_of_a_number(odd: bytes) -> None:
    body = as_text(rows_with(row(40)))
    at = body.index(as_text([row(40)])[1:-1]) + len("[2400000,")
    with pytest.raises(ValueError, match="column"):
        from_json(body[:at] + odd + body[at + len(b'"1.0",') :])


def test_a_row_of_many_with_its_quotes_in_the_wrong_places_is_not_taken_for_numbers() -> None:
    swapped = row(40, trades="12", open=1.5)
    [bad] = from_json(as_text(rows_with(swapped))).unreadable
    assert bad.open_time == 40 * MINUTE_MS


@pytest.mark.parametrize("lines", [b"1,2,3\n", b"\n", as_csv([row()]) + b"\n", as_csv([row(), row()[:11]])])
def test_lines_that_are_no_rows_are_refused(lines: bytes) -> None:
    with pytest.raises(ValueError, match="fields|whole number"):
        from_csv(lines)


def test_windows_line_ends_are_read() -> None:
    assert from_csv(as_csv([row(), row(1)]).replace(b"\n", b"\r\n")).klines.num_rows == 2


def test_rows_of_which_most_are_not_klines_are_another_format_and_refused() -> None:
    rows = [row(minute, open=1.0) for minute in range(60)]
    for parse in (lambda: from_json(as_text(rows)), lambda: from_rows(rows)):
        with pytest.raises(ValueError, match="60 rows are not klines, the first because open is not a number"):
            parse()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FLOATS), st.text(alphabet="0123456789.-+eE x_naif", max_size=9))
def test_any_text_is_the_same_number_or_none_in_every_way(name: str, text: str) -> None:
    read = {
        way: (parsed.unreadable != () or parsed.klines.column(name)[-1 if way == "few" else 40].as_py() == float(text))
        and bool(parsed.unreadable)
        for way, parsed in every_way(rows_with(row(40, **{name: text}))).items()
    }
    assert len(set(read.values())) == 1, read


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='0123456789.-"[],{}nul tre', max_size=60), st.booleans())
def test_any_body_is_rows_or_refused_in_one_line(body: str, wrapped: bool) -> None:
    try:
        from_json((f"[[{body}]]" if wrapped else body).encode())
    except ValueError as error:
        assert str(error)
