"""What the project takes from others: pinned actions, hashed packages, and the tools that look at them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from market_data_pipeline_tests.support import CHECKOUT

WORKFLOWS = sorted((CHECKOUT / ".github" / "workflows").glob("*.y*ml"))
LOCKS = ["requirements.lock", "packaging/audit/requirements.txt"]
_PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
_NAMED = re.compile(r"^\s*(?:-\s+)?uses:\s*\S+\s+# v\d+\.\d+\.\d+$")


def used(content: Any) -> Iterator[str]:
    """Every `uses` of a workflow, also of one that calls another."""
    if isinstance(content, dict):
        yield from (value for name, value in content.items() if name == "uses")
        for value in content.values():
            yield from used(value)
    elif isinstance(content, list):
        for value in content:
            yield from used(value)


def test_there_is_a_workflow() -> None:
    assert WORKFLOWS


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_each_action_is_pinned_to_a_commit_and_says_its_version(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    actions = list(used(yaml.safe_load(text)))
    assert actions
    assert [action for action in actions if not action.startswith("./") and not _PINNED.fullmatch(action)] == []
    lines = [line for line in text.splitlines() if re.match(r"\s*(?:-\s+)?uses:", line)]
    assert len(lines) == len(actions)
    assert [line for line in lines if "uses: ./" not in line and not _NAMED.match(line)] == []
    pins = {re.search(r"uses: (\S+)@(\S+)", line).groups() for line in lines}  # type: ignore[union-attr]
    assert len(pins) == len({action for action, _ in pins}), "an action has two commits"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    assert [name for name, job in workflow["jobs"].items() if "permissions" in job] == []
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("name", LOCKS)
def test_each_locked_package_has_one_version_and_its_hashes(name: str) -> None:
    text = (CHECKOUT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert lines
    for line in lines:
        assert re.match(r"[A-Za-z0-9._\[\],-]+==[A-Za-z0-9.+!]+( ; .+?)? +--hash=sha256:[0-9a-f]{64}", line), line
