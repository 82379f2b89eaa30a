"""The pandera schema of klines: a second check of every stored value, independent of the rules of `klines.checks`.

Belongs here: the schema and what breaks it. Does not belong here: reading chunks (`verify`). Pandera takes long to
import and costs the same for one day as for many, so it is imported when it is needed, and given many days at a time.
"""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from market_data_pipeline.core.klines.table import FIELDS, INTEGER_FIELDS
from market_data_pipeline.core.text import count_text

if TYPE_CHECKING:
    import pandera.pandas as pandera


@cache
def schema() -> "pandera.DataFrameSchema":
    """The pandera schema of a table of klines: twelve fields, their types, their ranges, rising open times."""
    import pandera.pandas as pandera

    # Takes a tenth of the time of pandera's `unique`, and also finds times that are out of order.
    rises = pandera.Check(lambda times: bool((np.diff(times) > 0).all()), name="rises")

    def field(name: str) -> "pandera.Column":
        checks = {"open_time": rises, "ignore": None}.get(name, pandera.Check.ge(0))
        return pandera.Column("int64" if name in INTEGER_FIELDS else "float64", checks=checks, nullable=False)

    return pandera.DataFrameSchema({name: field(name) for name in FIELDS}, strict=True, ordered=True)


def schema_problem(klines: pa.Table, expected: "pandera.DataFrameSchema") -> str | None:
    """Which values of the klines break the schema, in one line; None if none does."""
    from pandera.errors import SchemaErrors

    try:
        expected.validate(klines.to_pandas(), lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases
        rules = sorted({f"{case.column}: {case.check}" for case in cases.itertuples()})
        return f"{count_text(len(cases), 'value')} against the schema ({'; '.join(rules)})"
    return None
