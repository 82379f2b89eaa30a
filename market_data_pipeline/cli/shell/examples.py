"""The examples at the end of each command's help.

Belongs here: one to four lines for each command, which a test gives to the command line. Does not belong here: what an
option means, which its own help says.
"""

EXAMPLES = {
    "backfill": (
        "market-data --market spot --pair BTC/USDT backfill --start 2024-01-01",
        "market-data --pair '*/USDT' --pair '!*DOWN/*' backfill --plan",
        "market-data --universe majors backfill --end 2024-07-01 --json",
    ),
    "live": (
        "market-data --market spot --pair BTC/USDT live --minutes 60",
        "market-data --universe majors live --mark",
    ),
    "verify": (
        "market-data verify",
        "market-data --market spot --pair BTC/USDT verify --start 2024-01-01 --repair",
        "market-data verify --against archive --json",
        "market-data verify --snapshot paper-2024",
    ),
    "combine": (
        "market-data --market spot --pair BTC/USDT combine",
        "market-data --market spot --pair BTC/USDT combine --tz Europe/Zurich",
    ),
    "export": (
        "market-data --pair BTC/USDT export --format csv --output klines",
        "market-data --universe majors export --format csv --panel wide --output out",
        "market-data export --format feather-freqtrade --interval 5m --output data",
    ),
    "snapshot": (
        "market-data --universe majors snapshot paper-2024",
        "market-data snapshot --json",
        "market-data snapshot paper-2024 --remove",
    ),
    "status": ("market-data status", "market-data --market spot --pair 'BTC/*' status --json"),
    "pairs": (
        "market-data --market spot pairs --quote USDT --at 2021-05-01",
        "market-data pairs 'BTC*' --status ended --json",
    ),
    "universe": ("market-data universe list", "market-data universe apply majors --plan"),
    "universe list": ("market-data universe list --json",),
    "universe show": ("market-data universe show majors",),
    "universe apply": ("market-data universe apply majors", "market-data universe apply majors --runs --wait"),
    "health": ("market-data health", "market-data --universe majors health --json"),
    "doctor": ("market-data doctor", "market-data doctor --json"),
    "report": ("market-data report", "market-data --market spot --pair '*' report --json"),
    "up": ("market-data up", "market-data up --port 8001 --dagster-port 3001"),
    "serve": ("market-data serve --port 8001",),
    "worker": ("market-data worker --runs 2",),
    "simulate": (
        "market-data simulate --port 9000 --rtt-ms 150",
        "market-data simulate --port 0 --now 2024-05-15T12:00Z --fault 429=0.01",
    ),
    "demo": ("market-data demo",),
}


def examples(name: str) -> str:
    """The end of a command's help; each line stays a line."""
    # \b keeps the paragraph behind it from being joined into one line.
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in EXAMPLES[name])
