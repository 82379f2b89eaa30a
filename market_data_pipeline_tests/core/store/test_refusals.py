"""What the errors of the library for object stores mean, by their texts alone; `test_bucket_access` has them happen."""

import errno

import pytest

from market_data_pipeline.core.store.storage.refusals import errors_of, meaning_of
from market_data_pipeline_tests.places import in_memory

STATUS = "Server returned non-2xx status code: "


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        (
            "Generic S3 error: the bucket has an incorrectly configured region",
            "the bucket is in another region; set AWS_REGION",
        ),
        (f"{STATUS}403 Forbidden: ", "access denied; check the credentials and what they allow"),
        (f"{STATUS}401 Unauthorized: ", "access denied; check the credentials and what they allow"),
        (
            f"{STATUS}403 Forbidden: <Error><Code>AccessDenied</Code></Error>",
            "access denied (AccessDenied); check what the credentials allow",
        ),
        (
            'Encountered object with invalid path: Path "a/binance//" contained empty path segment',
            "the bucket cannot be listed; remove each object with an empty part, . or .. in its key: a/binance//",
        ),
        (
            'Encountered object with invalid path: Error parsing Path "a/../": Encountered illegal character sequence',
            "the bucket cannot be listed; remove each object with an empty part, . or .. in its key: a/../",
        ),
        ("could not delete (code: AccessDenied)", "access denied (AccessDenied); check what the credentials allow"),
        (f"{STATUS}503 Slow Down: <Code>SlowDown</Code>", "the object store answers HTTP 503 Slow Down SlowDown"),
        ("error sending request for url (http://127.0.0.1:9/bucket)", "http://127.0.0.1:9 does not answer"),
        ("the disk of the server is full\n\nDebug source: Error {", "the disk of the server is full"),
        ("no answer of https://me:secret@host:9000/b", "no answer of https://host:9000/b"),
    ],
)
def test_an_error_is_one_line_with_what_to_do(text: str, meaning: str) -> None:
    assert meaning_of(OSError(text)) == meaning


def test_an_object_that_is_not_there_is_told_from_a_bucket_that_is_not() -> None:
    path = in_memory() / "dataset.json"
    with pytest.raises(FileNotFoundError, match="there is no such object"), errors_of(path):
        raise FileNotFoundError("404: <Code>NoSuchKey</Code>")
    with pytest.raises(OSError, match="the bucket does not exist") as refused, errors_of(path):
        raise FileNotFoundError("404: <Code>NoSuchBucket</Code>")
    assert refused.value.errno == errno.ENXIO
