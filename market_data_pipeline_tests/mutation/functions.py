"""The functions of modules that are imported, and the new code of one of them.

Belongs here: finding functions, and comparing two sources. Does not belong here: where a mutant's source comes from
(`mutants`), and what is done with its code (`trying`).
"""

import gc
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

Key = tuple[str, str, int]
"""A function: its file, its name with that of its class, and its first line."""


@dataclass(frozen=True)
class Mutant:
    room: str
    name: str
    file: str
    source: str


def functions_of(files: Collection[str]) -> dict[Key, list[FunctionType]]:
    found: dict[Key, list[FunctionType]] = defaultdict(list)
    for known in gc.get_objects():
        if type(known) is FunctionType and known.__code__.co_filename in files:
            found[key_of(known.__code__)].append(known)
    return dict(found)


def key_of(code: CodeType) -> Key:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def changed(mutant: Mutant) -> tuple[Key, CodeType] | None:
    """Which function is changed, and its new code; None if it does what it did, as far as the compiler can tell."""
    before = compile(Path(mutant.file).read_text(encoding="utf-8"), mutant.file, "exec")
    after = compile(mutant.source, mutant.file, "exec")
    for was, becomes in zip(_codes(before), _codes(after), strict=True):
        if _meaning(was) != _meaning(becomes):
            # A function that is there has a fixed number of variables of the functions around it.
            return (key_of(was), becomes) if len(was.co_freevars) == len(becomes.co_freevars) else None
    return None


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The functions of a module and of its classes."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            if inner.co_flags & CO_OPTIMIZED:
                yield inner
            else:
                yield from _codes(inner)


def _meaning(code: CodeType) -> tuple[Any, ...]:
    """The code without its line numbers."""
    constants = [_meaning(each) if isinstance(each, CodeType) else _shown(each) for each in code.co_consts]
    return code.co_code, code.co_exceptiontable, constants, code.co_names, code.co_varnames, code.co_freevars


def _shown(constant: object) -> str:
    return str(sorted(map(repr, constant))) if isinstance(constant, frozenset) else repr(constant)
