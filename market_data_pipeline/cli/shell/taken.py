"""Which of the options before the command each command takes.

Belongs here: what has an effect on which command, and what to write instead of the others. Does not belong here: the
options themselves (`main`), what they mean (`options`).
"""

_WHICH = frozenset({"--market", "--pair", "--pairs-file", "--universe"})
_WHICH_AND_ZONE = _WHICH | {"--align-tz"}
_ALL = _WHICH_AND_ZONE | {"--strict-pair"}
_NONE = frozenset[str]()
_TAKEN = {
    "backfill": _ALL,
    "live": _ALL,
    "verify": _WHICH_AND_ZONE,
    "verify --snapshot": _NONE,
    "combine": _WHICH,
    "status": _WHICH,
    "status --runs": frozenset({"--market"}),
    "pairs": _WHICH,
    "universe": _NONE,
    "export": _WHICH_AND_ZONE,
    "snapshot": _WHICH,
    "snapshot without NAME": _NONE,
    "snapshot --remove": _NONE,
    "report": _WHICH,
    "health": _WHICH,
    "doctor": _NONE,
    "up": _NONE,
    "worker": _NONE,
    "serve": _NONE,
    "simulate": _NONE,
    "demo": _NONE,
}
"""The options that have an effect on a command, or on a way of it; it refuses the others, which would mislead."""
_INSTEAD = {
    "verify --snapshot": "leave it out, a snapshot has its own pairs",
    "snapshot --remove": "leave it out, a snapshot has its own pairs",
    "snapshot without NAME": "leave it out to list all snapshots, or name the snapshot to make",
    "status --runs": "leave it out, the runs of a market are counted",
    "universe": "leave it out, the file of universes says all of a universe",
    "combine --align-tz": "write combine --tz ZONE to keep whole days of a zone",
    "pairs --align-tz": "leave it out, its days are those of UTC",
    "--align-tz": "leave it out, the zone of stored days is fixed",
    "--strict-pair": "leave it out, only backfill and live replace a pair",
}


def refusal(command: str, option: str) -> str | None:
    """Why the command, or a way of it such as `verify --snapshot`, refuses this option; None if it takes it."""
    taken = _TAKEN.get(command, _ALL)
    if option in taken:
        return None
    keys = (f"{command} {option}", command, option if "--pair" in taken else "")
    instead = next((_INSTEAD[key] for key in keys if key in _INSTEAD), "leave it out")
    return f"{command} takes no {option}; {instead}"
