"""Which pairs a user means with several words: names, globs, and what is left out.

Belongs here: reading the words, and choosing among pairs. Does not belong here: spellings of one pair (`pair`), where
the pairs to choose among come from (the catalog, or what is stored).

A glob with a slash is matched with base and quote (`*/USDT`), one without with the symbol (`BTC*`), small and capital
letters alike. `!` in front of a name or glob leaves out what it matches.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.pair import parse_pair, token_of

_OF_GLOBS = frozenset("*?[")


class Among(Enum):
    """Which pairs a glob chooses among, and where a user sees them: for the message that it matches none."""

    CATALOG = "; `market-data pairs` lists what there is"
    TRADED = " that was traded in the window; `market-data pairs` lists what there is"
    STORED = " that is stored; `market-data status` lists them"
    SNAPSHOT = " that the snapshot has"


@dataclass(frozen=True, slots=True)
class Patterns:
    """Names as `parse_pair` returns them, globs, and names and globs of what is left out, each in the user's order."""

    names: tuple[str, ...]
    globs: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def needs_candidates(self) -> bool:
        """True if pairs to choose among are needed: there is a glob."""
        return bool(self.globs)

    def may_choose(self, token: str) -> bool:
        """True if a glob may match the pair of this symbol, whatever its base and quote are; not if it is left out."""
        is_left_out = any(token_of(text) == token for text in self.left_out)
        return not is_left_out and any(_fits(token_of(glob), token) for glob in self.globs)

    def choose(self, candidates: Iterable[str], among: Among) -> list[str]:
        """The pairs that are meant: the names in their order, then what the globs match, by name.

        Args:
            candidates: the pairs to choose among, `BTC/USDT`; names need not be among them.
            among: which pairs these are.

        Raises:
            UsageError: a glob matches nothing, or no pair is left.
        """
        by_token = {token_of(name): name for name in self.names}
        known = sorted(candidates)
        for glob in self.globs:
            found = [pair for pair in known if _matches(glob, pair)]
            if not found:
                raise UsageError(f"{glob!r} matches no pair{among.value}")
            for pair in found:
                by_token.setdefault(token_of(pair), pair)
        kept = [pair for pair in by_token.values() if not any(_matches(text, pair) for text in self.left_out)]
        if not kept:
            raise UsageError(f"no pair is left without {', '.join(self.left_out)}; name others")
        return kept


def parse_patterns(words: Sequence[str], *, has_contracts: bool) -> Patterns:
    """Read the words of a user.

    Raises:
        UsageError: a word is neither a pair nor a glob, a pair is named twice, or nothing is named.
    """
    texts = [word.strip() for word in words]
    named: dict[str, tuple[str, str]] = {}
    for text in texts:
        if is_pattern(text):
            continue
        name = parse_pair(text, has_contracts=has_contracts)
        if token_of(name) in named:
            first = named[token_of(name)][1]
            spellings = "" if first == text else f", as {first!r} and {text!r}"
            raise UsageError(f"{name} is named twice{spellings}; name it once")
        named[token_of(name)] = name, text
    globs = tuple(dict.fromkeys(text for text in texts if _is_glob(text) and not text.startswith("!")))
    if not named and not globs:
        raise UsageError("no pair is named; name one such as BTC/USDT, or a glob such as '*/USDT'")
    left_out = [text[1:].strip() for text in texts if text.startswith("!")]
    return Patterns(
        tuple(name for name, _ in named.values()),
        globs,
        tuple(text if _is_glob(text) else parse_pair(text, has_contracts=has_contracts) for text in left_out),
    )


def is_pattern(word: str) -> bool:
    """True if the word is no name: it is a glob, or leaves something out."""
    return word.strip().startswith("!") or _is_glob(word)


def _is_glob(text: str) -> bool:
    return not _OF_GLOBS.isdisjoint(text)


def _matches(text: str, pair: str) -> bool:
    """True if a name or glob is that pair's."""
    if not _is_glob(text):
        return token_of(text) == token_of(pair)
    base, has_slash, quote = text.partition("/")
    if not has_slash:
        return _fits(text, token_of(pair))
    of_base, _, of_quote = pair.partition("/")
    return _fits(base, of_base) and _fits(quote, of_quote)


def _fits(glob: str, name: str) -> bool:
    """True if the glob matches, whatever the case, and however letters with marks are composed."""
    return fnmatchcase(*(unicodedata.normalize("NFC", text).upper() for text in (name, glob)))
