"""What the errors of the library for object stores mean.

Belongs here: from an error to the one that a folder would have, in one line that says what to do and has no secret.
Does not belong here: requests (`objects`), what is wrong with an address or with credentials that were not sent
(`opening`).
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from market_data_pipeline.core.store.storage.opening import MOST_CHARACTERS, SERVER, first_line, library
from market_data_pipeline.core.store.storage.paths import BucketPath
from market_data_pipeline.core.store.storage.protocol import Changed
from market_data_pipeline.core.text import one_line

# Where a machine of a cloud is asked for the credentials of its role.
_ROLES = ("http://169.254.169.254/", "http://metadata.google.internal/")
_PROVIDER = "External AWS credential provider: "
NO_ETAG = "the object store gives no ETag, by which a change is noticed"
# Refused, reset, closed in the middle of an answer, or silent for too long.
_NO_ANSWER = "HTTP error: "
# No listing that has it is given at all.
_BAD_KEY = re.compile(r'object with invalid path: (?:Error parsing )?Path "(.*)"(?: contained |: Encountered )')
_STATUS = re.compile(r"Server returned non-2xx status code: (\d{3})([^:]*)")
# Objects are deleted several at once, and what could not be is told in another way.
_CODE = re.compile(r"<Code>(\w{1,100})</Code>|\(code: (\w{1,100})\)")

_KEY_REFUSED = "the credentials are not accepted ({}); check the key and its secret, and that they are for this server"
_EXPIRED = "the credentials have expired ({}); get new ones"
_MEANINGS = {
    "AccessDenied": "access denied ({}); check what the credentials allow",
    "InvalidAccessKeyId": _KEY_REFUSED,
    "SignatureDoesNotMatch": _KEY_REFUSED,
    "ExpiredToken": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": "this machine's clock is too far from the object store's ({}); set the clock",
    "NoSuchBucket": "the bucket does not exist ({}); create it, or check MARKET_DATA_DIR",
}


@contextmanager
def errors_of(path: BucketPath) -> Iterator[None]:
    """Raise the errors of the library as those that a folder has.

    Raises:
        FileNotFoundError, Changed, OSError: one line, without credentials; see `_number_of`.
        UsageError: the library is not installed.
    """
    exceptions = library("obstore.exceptions")
    try:
        yield
    except FileNotFoundError as error:
        if _code_of(error) == "NoSuchBucket":
            raise OSError(errno.ENXIO, meaning_of(error), str(path)) from None
        raise FileNotFoundError(errno.ENOENT, "there is no such object", str(path)) from None
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
        raise Changed(f"{path} was written by another process") from None
    except exceptions.BaseError as error:
        text = str(error)
        if any(role in text for role in _ROLES):  # asked last, if there is neither a key nor a profile
            raise PermissionError(errno.EACCES, _no_credentials(path), str(path)) from None
        raise OSError(_number_of(error), meaning_of(error), str(path)) from None


def is_lost(error: BaseException) -> bool:
    """Whether an error of `errors_of` says that the same request may be answered later, see `_number_of`."""
    return isinstance(error, OSError) and error.errno == errno.EIO


def meaning_of(error: Exception) -> str:
    """What an error of the library says: what is wrong, and after a semicolon what to do, if that is known."""
    if _PROVIDER in str(error):
        problem = one_line(first_line(error).partition(_PROVIDER)[2], MOST_CHARACTERS)
        return f"the profile in ~/.aws gives no credentials ({problem}); log in again, or check the profile"
    code, status = _code_of(error), _STATUS.search(str(error))
    if code in _MEANINGS:
        return _MEANINGS[code].format(code)
    if _number_of(error) == errno.EACCES:
        return "access denied; check the credentials and what they allow"
    if status:
        return one_line(f"the object store answers HTTP {status[1]}{status[2]} {code}", MOST_CHARACTERS)
    if "error sending request" in str(error) and (server := SERVER.search(str(error))):
        return f"{server[1]}{server[2]} does not answer"
    if bad := _BAD_KEY.search(str(error)):
        cure = "remove each object with an empty part, . or .. in its key"
        return one_line(f"the bucket cannot be listed; {cure}: {bad[1]}", MOST_CHARACTERS)
    if "ETag Header missing" in str(error):
        return NO_ETAG
    if "incorrectly configured region" in str(error):
        return "the bucket is in another region; set AWS_REGION"
    return first_line(error)


def _number_of(error: Exception) -> int:
    """EIO if there was no whole answer, or the server has a problem of its own; others it would give again.

    EACCES or EINVAL if it refused the request, EPROTO if its answer is not that of an object store.
    """
    status = _STATUS.search(str(error))
    if status is None:
        return errno.EIO if _NO_ANSWER in str(error) else errno.EPROTO
    if not status[1].startswith("4"):
        return errno.EIO
    return errno.EACCES if status[1] in ("401", "403") else errno.EINVAL


def _code_of(error: Exception) -> str:
    found = _CODE.search(str(error))
    return (found[1] or found[2]) if found else ""


def _no_credentials(path: BucketPath) -> str:
    variables = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    return f"there are no credentials; {variables if path.root.startswith('s3://') else 'set those of this cloud'}"
