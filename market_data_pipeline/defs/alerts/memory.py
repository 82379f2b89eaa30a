"""Which causes of failures there are, and which of them to tell now: one message for each, and never many at once.

Belongs here: when a cause is told, told again, over or forgotten. Does not belong here: reading failures (`news`),
sending (`webhook`). It knows no clock: whoever calls says what time it is.

A cause is kept until it was told, so nothing is lost while the webhook does not answer. What is kept is the cursor of
the sensor, which Dagster stores with each tick, so it is small: a cause has a line of text and a few names.
"""

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from market_data_pipeline.core.text import count_text
from market_data_pipeline.defs.alerts.news import Failure, News

HOUR_S, DAY_S = 3600.0, 86_400.0
MOST_IN_AN_HOUR = 10
"""So many messages about single causes; the others are told together, once an hour."""
_MOST_CAUSES, _MOST_NAMES, _MOST_IN_SUMMARY = 40, 5, 10


@dataclass(slots=True)
class Cause:
    """A cause of failures.

    Attributes:
        text: its last failure, in one line.
        what: some of the datasets or jobs that failed.
        first_s: when it failed first.
        last_s: when it failed last.
        times: failures since it was told last.
        told_s: when it was told last, 0 if never.
        is_open: False once it is over; it is kept for an hour, so that one that comes and goes is not told each time.
        is_told: whether somebody knows that it is open.
        is_error: False for a warning.
        run_id: the last run that failed or evaluated the check.
        check: the exchange_id and the name of the check, empty for a run.
        was_defined: whether the code location has had the check of a dataset of this exchange.
        is_gone: whether it is over because it has it no more.
    """

    text: str
    what: list[str]
    first_s: float
    last_s: float
    times: int = 0
    told_s: float = 0
    is_open: bool = True
    is_told: bool = False
    is_error: bool = True
    run_id: str = ""
    check: tuple[str, str] = ("", "")
    was_defined: bool = False
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """A message: its kind (failed, still_failing, recovered or others), and the names of the causes in it."""

    kind: str
    causes: tuple[str, ...]


@dataclass(slots=True)
class Memory:
    """What the sensor remembers: how far it has read and when, the causes, and the messages of the last hour."""

    runs_after: int
    checks_after: int
    causes: dict[str, Cause] = field(default_factory=dict)
    sent_s: list[float] = field(default_factory=list)
    others_s: float = 0
    forgotten: Annotated[int, Field(ge=0)] = 0
    looked_s: float = 0

    @classmethod
    def parse(cls, text: str) -> "Memory | None":
        """What `text` gave; None if it is no such text."""
        try:
            return _ADAPTER.validate_json(text)
        except ValidationError:
            return None

    def dump(self) -> str:
        """All of it as JSON."""
        return _ADAPTER.dump_json(self).decode()

    def note(
        self,
        news: News,
        *,
        defined: Container[tuple[str, str]],
        unsure: Container[str] = (),
        still_fails: Callable[[tuple[str, str]], bool],
    ) -> None:
        """Note failures, and which causes are over.

        Args:
            news: what was recorded.
            defined: the exchange_id and the name of each check that the code location has. One that it had and has no
                more is over: what failed was deleted, and no evaluation will say that it passes. Checks that it never
                had are those of other locations.
            unsure: each exchange_id of which nobody knows now which checks are gone.
            still_fails: whether one fails, asked of each that passed for some dataset; the others are over.
        """
        for failure in news.failures:
            self._note(failure)
        for cause in self.causes.values():
            is_defined = cause.check in defined
            cause.was_defined |= is_defined
            cause.is_gone = cause.was_defined and not is_defined and cause.check[0] not in unsure
            if cause.is_open and (cause.is_gone or (cause.check in news.passed and not still_fails(cause.check))):
                cause.is_open = False
        self.runs_after, self.checks_after = news.runs_after, news.checks_after
        while len(self.causes) > _MOST_CAUSES:
            gone = self.causes.pop(
                min(self.causes, key=lambda name: (not self._is_done(name), self.causes[name].last_s))
            )
            self.forgotten += gone.is_open and not gone.is_told

    def due(self, now_s: float) -> Iterator[Message]:
        """The messages to send now; whoever got one sent calls `told` before the next."""
        self._correct(now_s)
        self.sent_s = [at_s for at_s in self.sent_s if now_s - at_s < HOUR_S]
        for name in self._by_time():
            kind = self._kind(self.causes[name], now_s)
            if kind and len(self.sent_s) < MOST_IN_AN_HOUR:
                yield Message(kind, (name,))
        others = tuple(name for name in self._by_time() if self._kind(self.causes[name], now_s))
        if (others or self.forgotten) and now_s - self.others_s >= HOUR_S:
            yield Message("others", others)

    def told(self, message: Message, now_s: float) -> None:
        """Note that a message was taken."""
        if message.kind == "others":
            self.others_s, self.forgotten = now_s, 0
        else:
            self.sent_s.append(now_s)
        for name in message.causes:
            cause = self.causes[name]
            cause.is_told, cause.told_s, cause.times = cause.is_open, now_s, 0

    def forget(self, now_s: float) -> None:
        """Forget causes that are over or, of runs, have not come again for a day, as far as that is told."""
        for name, cause in list(self.causes.items()):
            is_old_run = cause.is_told and not any(cause.check) and now_s - cause.last_s >= DAY_S
            if is_old_run or (self._is_done(name) and now_s - cause.told_s >= HOUR_S):
                del self.causes[name]

    @property
    def untold(self) -> int:
        """How many causes are open and not told."""
        return sum(cause.is_open and not cause.is_told for cause in self.causes.values())

    def body(self, message: Message) -> dict[str, object]:
        """The content of a message: `text` for people, the rest for programs."""
        causes = [self.causes[name] for name in message.causes]
        if message.kind == "others":
            texts = [f"- {'' if cause.is_open else 'recovered: '}{cause.text}" for cause in causes[:_MOST_IN_SUMMARY]]
            more = len(causes) - len(texts) + self.forgotten
            texts += [f"- and {more} more"] if more else []
            count = len(causes) + self.forgotten
            first = f"market-data: {count_text(count, 'other cause')} in the last hour"
            return {"text": "\n".join([first, *texts]), "kind": message.kind, "causes": count}
        (cause,) = causes
        return {
            "text": f"market-data: {_sentence(message.kind, cause)}",
            "kind": message.kind,
            "cause": message.causes[0],
            "severity": "error" if cause.is_error else "warning",
            "failures": cause.times,
            "what": cause.what,
            "check": cause.check[1] or None,
            "run_id": cause.run_id or None,
            "first_at_s": round(cause.first_s),
            "last_at_s": round(cause.last_s),
        }

    # --- inside

    def _correct(self, now_s: float) -> None:
        """Take what was noted in the future for noted now: the clock was ahead, and nothing waits for that time."""
        self.sent_s, self.others_s = [min(at_s, now_s) for at_s in self.sent_s], min(self.others_s, now_s)
        for cause in self.causes.values():
            cause.last_s, cause.told_s = min(cause.last_s, now_s), min(cause.told_s, now_s)

    def _note(self, failure: Failure) -> None:
        known = self.causes.get(failure.cause)
        cause = known or Cause(failure.text, [], failure.at_s, failure.at_s)
        self.causes[failure.cause] = cause
        if not cause.is_open:
            cause.is_open, cause.is_told, cause.first_s, cause.what, cause.times = True, False, failure.at_s, [], 0
        cause.text, cause.last_s, cause.run_id = failure.text, failure.at_s, failure.run_id
        cause.is_error, cause.check = failure.is_error, (failure.exchange_id, failure.check)
        cause.times += 1
        if failure.what not in cause.what and len(cause.what) < _MOST_NAMES:
            cause.what.append(failure.what)

    def _by_time(self) -> list[str]:
        return sorted(self.causes, key=lambda name: self.causes[name].first_s)

    def _kind(self, cause: Cause, now_s: float) -> str:
        """The kind of message that is due about a cause, empty for none."""
        since_s = now_s - cause.told_s
        if cause.is_open and not cause.is_told:
            return "failed" if since_s >= HOUR_S else ""
        if not cause.is_open:
            return "recovered" if cause.is_told else ""
        return "still_failing" if since_s >= DAY_S and (cause.times or any(cause.check)) else ""

    def _is_done(self, name: str) -> bool:
        return not self.causes[name].is_open and not self.causes[name].is_told


_ADAPTER = TypeAdapter(Memory)


def _sentence(kind: str, cause: Cause) -> str:
    if kind == "recovered" and cause.is_gone:
        return f"recovered: no dataset of {cause.check[0]} has {cause.check[1]} any more; before: {cause.text}"
    if kind == "recovered":
        return f"recovered: {cause.check[1]} passes for all datasets of {cause.check[0]}; before: {cause.text}"
    more = f" ({cause.times} times: {', '.join(cause.what)})" if cause.times > 1 else ""
    return f"{'still failing: ' if kind == 'still_failing' else ''}{cause.text}{more}"
