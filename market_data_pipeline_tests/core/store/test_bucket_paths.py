"""Paths in a bucket have the parts and the order of paths in a folder."""

from pathlib import PurePosixPath

import pytest

from market_data_pipeline.core.store.storage.paths import BucketPath

ROOT = BucketPath("s3://bucket/klines")
KEYS = ["a/b", "a!b", "a", "a/b/c.parquet", "a b", "b/.json", "a/b.tar.gz", "B"]


def test_paths_are_in_the_order_of_paths_in_a_folder() -> None:
    ordered = [path.key for path in sorted(BucketPath("s3://bucket", key) for key in KEYS)]
    assert ordered == [str(path) for path in sorted(map(PurePosixPath, KEYS))]
    assert BucketPath("s3://a", "z") < BucketPath("s3://b", "a")
    for one in KEYS:
        for other in KEYS:
            is_before = PurePosixPath(one) < PurePosixPath(other)
            assert (BucketPath("s3://a", one) < BucketPath("s3://a", other)) is is_before, (one, other)


@pytest.mark.parametrize("key", KEYS)
def test_the_parts_of_a_path_are_those_of_a_path_in_a_folder(key: str) -> None:
    path, plain = BucketPath("s3://bucket", key), PurePosixPath(key)
    assert (path.name, path.stem, path.suffix) == (plain.name, plain.stem, plain.suffix)
    assert path.with_name("other").key == str(plain.with_name("other"))
    assert (path / "more").key == str(plain / "more")
    assert path.parent.key == ("" if str(plain.parent) == "." else str(plain.parent))


def test_the_address_of_a_path_begins_with_that_of_its_root() -> None:
    assert str(ROOT) == "s3://bucket/klines"
    assert str(ROOT / "spot" / "chunk") == "s3://bucket/klines/spot/chunk"
    assert ROOT.parent == ROOT


def test_what_is_below_a_hurried_path_is_hurried() -> None:
    hurried = BucketPath("s3://bucket", "a", is_hurried=True)
    assert hurried == BucketPath("s3://bucket", "a")
    for path in (hurried / "b", hurried.parent, hurried.with_name("c")):
        assert path.is_hurried
    assert not (ROOT / "b").is_hurried
