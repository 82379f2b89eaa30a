"""The questions whose answers are kept.

Belongs here: their names, apart from what finds the answers out, so that asking imports nothing. Does not belong here:
the answers.
"""


def question_of_status(chosen: str, *, with_newest: bool) -> str:
    """What the datasets have that `chosen` names, as the user wrote it; with or without their newest kline."""
    return f"status{' with newest' if with_newest else ''} of {chosen}"


def question_of_pairs(market: str) -> str:
    """The pairs of a market that a shell completes."""
    return f"pairs of {market}"


UNIVERSES = "universes"
"""The names of the universes that a shell completes."""
