"""A folder as a place for the store: what is on disk when a call has returned."""

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from market_data_pipeline.core.store.disk import calls
from market_data_pipeline.core.store.disk.calls import Call, Kind, told
from market_data_pipeline.core.store.storage.folder import FOLDER
from market_data_pipeline_tests.core.store.test_journal import files_of_at_most

pytestmark = pytest.mark.skipif("os.name == 'nt'", reason="Windows syncs no folder")


def kinds(act: Callable[[], object]) -> list[tuple[Kind, str]]:
    """What the call changed or brought to disk, and of which file or folder."""
    calls: list[Call] = []
    with told(calls.append):
        act()
    return [(call.kind, call.path.name) for call in calls]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder / "file"


WRITTEN = [(Kind.EMPTIED, "file.tmp"), (Kind.SYNCED, "file.tmp"), (Kind.RENAMED, "file.tmp")]


def test_a_file_and_its_name_are_on_disk_once_it_was_written(path: Path) -> None:
    assert kinds(lambda: FOLDER.write(path, b"content")) == [*WRITTEN, (Kind.FOLDER_SYNCED, "folder")]
    assert path.read_bytes() == b"content"
    assert FOLDER.write(path, b"other") == FOLDER.version(path)


def test_the_name_is_left_to_who_syncs_it_later(path: Path) -> None:
    assert kinds(lambda: FOLDER.write(path, b"content", syncs=False)) == WRITTEN
    assert kinds(lambda: FOLDER.sync(path.parent)) == [(Kind.FOLDER_SYNCED, "folder")]


def test_the_first_record_of_a_file_brings_its_name_to_disk(path: Path) -> None:
    appended = [(Kind.OPENED, "file"), (Kind.SYNCED, "file")]
    assert kinds(lambda: FOLDER.append_at(path, b"one", 0)) == [*appended, (Kind.FOLDER_SYNCED, "folder")]
    assert kinds(lambda: FOLDER.append_at(path, b"two", 3)) == appended
    assert path.read_bytes() == b"onetwo"


@pytest.mark.parametrize("can_be_cut", [True, False])
def test_a_record_that_cannot_be_brought_to_disk_is_taken_off_again_if_the_disk_lets_us(
    path: Path, monkeypatch: pytest.MonkeyPatch, can_be_cut: bool
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EIO, "the disk is gone")

    def uncut(*_: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    path.write_bytes(b"one")
    monkeypatch.setattr(calls, "sync", refused)
    if not can_be_cut:
        monkeypatch.setattr(calls, "cut", uncut)
    with pytest.raises(OSError, match="the disk is gone"):
        FOLDER.append_at(path, b"two", 3)
    assert path.read_bytes() == (b"one" if can_be_cut else b"onetwo")


def test_a_record_that_is_written_in_part_is_taken_off_again(path: Path) -> None:
    path.write_bytes(b"one")
    with files_of_at_most(5), pytest.raises(OSError, match="the record was not written whole") as refused:
        FOLDER.append_at(path, b"two", 3)
    assert (refused.value.errno, refused.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes() == b"one"


def test_what_is_appended_sees_the_last_bytes_and_is_on_disk_with_its_name(path: Path) -> None:
    seen: list[bytes] = []

    def addition(last: bytes) -> bytes:
        seen.append(last)
        return b"more"

    appended = [(Kind.OPENED, "file"), (Kind.SYNCED, "file"), (Kind.FOLDER_SYNCED, "folder")]
    for _ in range(3):
        assert kinds(lambda: FOLDER.append(path, 6, addition)) == appended
    assert seen == [b"", b"more", b"remore"]


def test_a_folder_in_the_place_of_a_file_gets_a_name_that_is_free(path: Path) -> None:
    for name in ("file", "file.1"):
        (path.with_name(name)).mkdir()
    (path / "mine").write_bytes(b"mine")
    FOLDER.write(path, b"content")
    assert path.read_bytes() == b"content"
    assert FOLDER.names(path.parent) == ["file", "file.1", "file.2"]
    assert (path.with_name("file.2") / "mine").read_bytes() == b"mine"


def test_a_file_that_is_streamed_is_there_as_a_whole_or_not_at_all(path: Path) -> None:
    with FOLDER.streamed(path) as file:
        file.write(b"content")
        assert not path.exists()
    assert path.read_bytes() == b"content"
    with pytest.raises(KeyError), FOLDER.streamed(path) as file:
        file.write(b"half")
        raise KeyError
    assert [each.name for each in path.parent.iterdir()] == ["file"]
    assert path.read_bytes() == b"content"


def test_a_folder_that_is_made_has_its_names_on_disk_from_above(path: Path) -> None:
    deep = path.parent / "one" / "two"
    made = kinds(lambda: FOLDER.make_folder(deep))
    below = made[made.index((Kind.FOLDER_MADE, "one")) :]
    assert below == [
        (Kind.FOLDER_MADE, "one"),
        (Kind.FOLDER_SYNCED, "folder"),
        (Kind.FOLDER_MADE, "two"),
        (Kind.FOLDER_SYNCED, "one"),
    ]
    assert deep.is_dir()


def test_only_temporary_files_of_this_kind_are_removed(path: Path) -> None:
    for name in ("mine.tmp", "mine", "other.tmp"):
        (path.parent / name).write_bytes(b"-")
    FOLDER.remove_unfinished(path.parent, lambda name: name == "mine")
    assert FOLDER.names(path.parent) == ["mine", "other.tmp"]
    assert FOLDER.sizes(path.parent) == {"mine": 1, "other.tmp": 1}


def test_what_is_no_folder_has_no_names_and_nothing_to_remove(path: Path) -> None:
    path.write_bytes(b"-")
    for folder in (path, path.parent / "none"):
        assert FOLDER.names(folder) == []
        assert FOLDER.sizes(folder) == {}
        FOLDER.remove_all(folder)
    assert path.exists()


def test_what_can_be_neither_removed_nor_moved_is_named_by_the_disk(path: Path) -> None:
    path.mkdir()
    with pytest.raises(OSError, match="file"):
        FOLDER.remove(path)
    assert path.is_dir()
    with pytest.raises(FileNotFoundError):
        FOLDER.move(path.with_name("missing"), path.with_name("target"))


def as_another_user(root: Path, lines: str) -> None:
    """Run these lines in the folder, as somebody for whom its permissions count. It may not enter the ones above."""
    root.chmod(0o755)
    program = f"""
import os
from pathlib import Path
from market_data_pipeline.core.store.chunks.files import set_aside
from market_data_pipeline.core.store.storage.folder import FOLDER
import filelock
os.chdir({str(root)!r})
if os.geteuid() == 0:
    os.seteuid(65534)
{lines}
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_may_not_be_looked_at_is_there(path: Path, tmp_path: Path) -> None:
    path.parent.chmod(0)
    try:
        as_another_user(
            tmp_path,
            """asked = [Path("folder/file"), Path("other/file")]
assert FOLDER.existing(asked) == asked[:1]
assert [FOLDER.exists(path) for path in asked] == [True, False]""",
        )
    finally:
        path.parent.chmod(0o755)


def test_a_folder_that_may_be_listed_and_not_looked_into_ends_the_search_for_a_free_name(tmp_path: Path) -> None:
    for name, mode in (("chunks", 0o755), ("quarantine", 0o744)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"-")
        (tmp_path / name).chmod(mode)
    as_another_user(
        tmp_path,
        """try:
    set_aside(Path("chunks/file"))
except PermissionError as error:
    assert "quarantine" in str(error)
else:
    raise AssertionError""",
    )
    (tmp_path / "quarantine").chmod(0o755)


def test_who_may_only_read_a_lock_knows_whether_it_is_held(path: Path, tmp_path: Path) -> None:
    right = FOLDER.hold(path)
    assert right.acquire()
    path.parent.chmod(0o555)
    path.chmod(0o444)
    as_another_user(tmp_path, 'assert FOLDER.is_held(Path("folder/file"))')
    right.release()
    as_another_user(tmp_path, 'assert not FOLDER.is_held(Path("folder/file"))')
    path.parent.chmod(0o755)


@pytest.mark.skipif("os.geteuid() != 0", reason="needs a file of another user")
def test_a_file_that_may_not_be_replaced_is_named_and_not_the_temporary_one(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"-")
    path.parent.chmod(0o1777)  # as /tmp: who may make files there may still replace none of others
    as_another_user(
        tmp_path,
        """path, mine = Path("folder/file"), Path("folder/mine")
mine.write_bytes(b"-")
for replace in (lambda: FOLDER.write(path, b"other"), lambda: FOLDER.move(mine, path)):
    try:
        replace()
    except PermissionError as error:
        assert error.filename == os.fspath(path), error
    else:
        raise AssertionError""",
    )
    assert FOLDER.names(path.parent) == ["file", "mine"]


def test_a_name_that_no_file_can_have_is_not_there(path: Path) -> None:
    path.write_bytes(b"-")
    path.with_name("circle").symlink_to(path.with_name("circle"))
    names = [path / "below a file", path.with_name("x" * 5000), path.with_name("a\0b"), path.with_name("circle") / "x"]
    assert FOLDER.existing(names) == []


def test_a_link_out_of_the_root_is_not_within_it(path: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"-")
    path.write_bytes(b"-")
    link = path.with_name("link")
    link.symlink_to(outside)
    assert FOLDER.is_within(path, path.parent)
    assert not FOLDER.is_within(link, path.parent)
    assert not FOLDER.is_within(path.with_name("none"), path.parent)
    assert not FOLDER.is_within(path.parent, path.parent)
