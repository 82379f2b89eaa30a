"""Mutants of modules by the rules of mutmut: a program for the Python of `.venv-mutate`, which has mutmut and libcst.

Belongs here: which changes there are, which of them are drawn, and the source of a module with one change. Does not
belong here: trying them (`trying`), because that takes the environment of the project.

It reads `{"files": {ROOM: [FILE, ...]}, "seed": 0, "each": 150}` and writes `{"all": {ROOM: [NAME, ...]}, "drawn":
[{"room", "name", "file", "source"}, ...]}`. A mutant is drawn by the hash of the seed and its name, which has the
changed line in it but not its number. So most of a sample stays the same when code is added.
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

# As in mutmut: annotations do nothing, and None in place of what these are given fails everywhere.
_LEFT_OUT = cst.Annotation, cst.Decorator, cst.Parameters
_LEFT_OUT_CALLS = {"len", "isinstance"}
# What a name shows of a long expression beside the change.
_BESIDE = 30


@dataclass(frozen=True)
class Change:
    """One node in the body of a function, and what it becomes."""

    function: str
    line: int
    node: cst.CSTNode
    becomes: cst.CSTNode


class _Changes(cst.CSTVisitor):
    """All changes in functions and methods, decorated or not; mutmut itself leaves out what is decorated."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Change] = []
        self._names: list[str] = []
        self._functions = 0
        self._line = 0

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, _LEFT_OUT) or _is_left_out_call(node):
            return False
        if position := self.get_metadata(PositionProvider, node, None):
            self._line = position.start.line
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self._names.append(node.name.value)
            self._functions += isinstance(node, cst.FunctionDef)
        elif self._functions:
            self.found += [
                Change(".".join(self._names), self._line, node, becomes)
                for kind, rule in mutation_operators
                if isinstance(node, kind)
                for becomes in rule(node)
            ]
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef):
            self._names.pop()
            self._functions -= isinstance(original_node, cst.FunctionDef)


def _is_left_out_call(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value in _LEFT_OUT_CALLS


def changes_of(source: str) -> tuple[cst.Module, list[Change]]:
    visitor = _Changes()
    wrapper = MetadataWrapper(cst.parse_module(source))
    wrapper.visit(visitor)
    return wrapper.module, visitor.found


def names_of(place: str, module: cst.Module, changes: list[Change]) -> Iterator[str]:
    """One line for each change, which tells it from all others of the module."""
    lines = module.code.splitlines()
    seen: Counter[str] = Counter()
    for change in changes:
        was, becomes = _shortened(module.code_for_node(change.node), module.code_for_node(change.becomes))
        name = f"{place} {change.function}: {lines[change.line - 1].strip()} | {was} -> {becomes}"
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} | {seen[name]}"


def _shortened(was: str, becomes: str) -> tuple[str, str]:
    """Both on one line, without what is the same at the beginning and the end of long ones."""
    was, becomes = " ".join(was.split()), " ".join(becomes.split())
    begin = max(len(commonprefix([was, becomes])) - _BESIDE, 0)
    end = max(len(commonprefix([was[::-1], becomes[::-1]])) - _BESIDE, 0)
    end = min(end, len(was) - begin, len(becomes) - begin)
    return was[begin : len(was) - end], becomes[begin : len(becomes) - end]


def drawn(asked: dict[str, Any]) -> dict[str, Any]:
    every: dict[str, list[str]] = {}
    some: list[dict[str, str]] = []
    for room, files in asked["files"].items():
        found: dict[str, tuple[str, cst.Module, Change]] = {}
        for file in files:
            module, changes = changes_of(Path(file).read_text(encoding="utf-8"))
            # The name has no machine in it.
            place = file.replace("\\", "/").rpartition("/core/")[2]
            for name, change in zip(names_of(place, module, changes), changes, strict=True):
                found[name] = file, module, change
        every[room] = list(found)
        for name in sorted(found, key=lambda name: _drawn_at(asked["seed"], name))[: asked["each"]]:
            file, module, change = found[name]
            changed = module.deep_replace(change.node, change.becomes)
            some.append({"room": room, "name": name, "file": file, "source": changed.code})
    return {"all": every, "drawn": some}


def _drawn_at(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()


if __name__ == "__main__":
    json.dump(drawn(json.load(sys.stdin)), sys.stdout)
