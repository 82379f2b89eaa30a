"""The options that the measured scripts share.

Belongs here: the pair, the days and the exchange, each named once. Does not belong here: what only one script takes.
"""

import argparse


def dataset_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that knows which pair is meant."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--market", required=True, choices=["spot", "futures"])
    parser.add_argument("--pair", default="BTC/USDT")
    return parser


def load_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that knows, too, which days to load and where from."""
    parser = dataset_parser(description)
    parser.add_argument("--start", required=True, help="first day, UTC")
    parser.add_argument("--end", required=True, help="day after the last, UTC")
    parser.add_argument("--url", required=True, help="base URL of the exchange")
    return parser
