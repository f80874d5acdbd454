"""MODEL_DIR as a path: a folder, or a URL that fsspec knows, such as `s3://bucket/prefix`.

A folder is a `pathlib.Path`, and nothing here costs it anything. A URL is a `UPath`, which has the same methods; each
of them sends requests to the store. So only those who change the store use it directly: readers that look all the
time have a copy of what they need (`layoutloop.store.mirror`).
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from layoutloop.errors import SettingsInvalid, StoreUnavailable

if TYPE_CHECKING:
    from upath import UPath

    StorePath: TypeAlias = Path | UPath
    AnyPath = TypeVar("AnyPath", Path, UPath, Path | UPath)
else:  # universal_pathlib is there only where a URL is used
    StorePath: TypeAlias = Path
    AnyPath = TypeVar("AnyPath")

_FOLDER_SCHEMES = ("file://", "local://")
_DRIVER_ERRORS = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp", "ClientError"),
    ("azure.core.exceptions", "AzureError"),
    ("gcsfs.retry", "HttpError"),
    ("fsspec.exceptions", "FSTimeoutError"),
)
"""What drivers raise that is no OSError: module and name."""
_PASSES = frozenset({errno.EIO, errno.EBUSY, errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE})
"""What an OSError of a driver says where another try may do; 5xx answers of S3 become the first two."""
_STORE_ERRORS = (PermissionError, ConnectionError, TimeoutError)
"""OSErrors of a driver that mean the store, also without an errno."""


def store_path(text: str) -> StorePath:
    """Return the path that MODEL_DIR means: an absolute folder, or a URL.

    Raises:
        SettingsInvalid: no driver for the URL's scheme is installed, or it holds a password.
    """
    for scheme in _FOLDER_SCHEMES:
        text = text.removeprefix(scheme)
    if "://" not in text:
        return Path(text).expanduser().resolve()
    scheme, _, rest = text.partition("://")
    if "@" in rest.partition("/")[0]:
        raise SettingsInvalid(
            f"MODEL_DIR is a {scheme}:// URL with a user or a password in it, and is shown in logs: give these to the "
            "driver by its own variables, for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    try:
        import fsspec
        from upath import UPath

        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise SettingsInvalid(
            f"MODEL_DIR={text} wants a driver that is not installed ({error}): pip install -r requirements/s3.txt has "
            "all that s3:// needs; other schemes need universal_pathlib and fsspec's driver, for example gcsfs for gs://"
        ) from error
    except ValueError as error:
        raise SettingsInvalid(f"MODEL_DIR={text} is neither a folder nor a URL that fsspec knows ({error})") from error
    # A listing that the driver remembers would hide what other machines write.
    return UPath(text.rstrip("/"), use_listings_cache=False)


def children(folder: StorePath, pattern: str) -> list[StorePath]:
    """Return what matches in a folder, by name; nothing where there is no folder."""
    found: list[StorePath] = [*folder.glob(pattern)]
    return sorted(found, key=str)


def driver_errors() -> tuple[type[Exception], ...]:
    """Return what drivers raise beside OSErrors, of those drivers that are loaded."""
    return tuple(getattr(sys.modules[module], name) for module, name in _DRIVER_ERRORS if module in sys.modules)


@contextmanager
def store_access(path: StorePath) -> Iterator[None]:
    """Say in our own words that a store at a URL does not answer; the errors of a folder stay as they are.

    Raises:
        StoreUnavailable: it does not, or not now, or it refuses our keys.
    """
    try:
        yield
    except driver_errors() as error:
        raise StoreUnavailable(_away(path, error)) from error
    except OSError as error:
        if isinstance(path, Path) or not (isinstance(error, _STORE_ERRORS) or error.errno in _PASSES):
            raise
        raise StoreUnavailable(_away(path, error)) from error


def _away(path: StorePath, error: Exception) -> str:
    if isinstance(error, OSError) and isinstance(error.filename, str) and Path(error.filename).is_absolute():
        return (  # drivers name no file, or one below a bucket
            f"what this machine keeps of the model store {path} (MODEL_DIR) cannot be used: {error}; "
            "see that LayoutLoop may read and write there"
        )
    if isinstance(error, PermissionError):
        return (
            f"the model store {path} (MODEL_DIR) refuses its keys: {error}; see that they are right, and what they may"
        )
    return f"the model store {path} (MODEL_DIR) cannot be used now: {error}; see that its address and keys are right"
