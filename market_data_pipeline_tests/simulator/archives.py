"""How the tests name, read and write files of an archive."""

import io
import zipfile
from pathlib import Path

from market_data_pipeline_tests.simulator.client import MINUTE, ExchangeClient, ms


def path(market: str, symbol: str, period: str, suffix: str = "") -> str:
    folder = {"spot": "spot", "futures": "futures/um"}[market]
    span = "daily" if len(period) == 10 else "monthly"
    return f"/data/{folder}/{span}/klines/{symbol}/1m/{symbol}-1m-{period}.zip{suffix}"


def lines(packed: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        (name,) = file.namelist()
        return file.read(name).decode().splitlines()


def as_csv(row: list) -> str:
    return ",".join(str(value) for value in row)


def whole_day(client: ExchangeClient, market: str, symbol: str, day: str) -> list[list]:
    start = ms(day)
    noon, end = start + 720 * MINUTE, start + 1440 * MINUTE - 1
    first = client.klines(market, symbol, startTime=start, endTime=noon - 1, limit=1000)
    return first + client.klines(market, symbol, startTime=noon, endTime=end, limit=1000)


def small_zip(root: Path, market: str, symbol: str, period: str, text: str) -> None:
    file = root / path(market, symbol, period).lstrip("/")
    file.parent.mkdir(parents=True)
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr(file.name.replace(".zip", ".csv"), text)
