"""A file that holds the Label Studio API key, as containers get their secrets: opened anew at every read.

A Secret of Kubernetes that is mounted as a folder changes by a symbolic link that is moved. So the path stays as it was
written, and is never resolved.
"""

from __future__ import annotations

import codecs
import stat
from pathlib import Path

from layoutloop.errors import SettingsInvalid

KEY_VARIABLE = "LABEL_STUDIO_API_KEY"
KEY_FILE_VARIABLE = "LABEL_STUDIO_API_KEY_FILE"
NO_KEY = f"{KEY_VARIABLE} is not set (nor {KEY_FILE_VARIABLE}): Label Studio's uploads and local files cannot be read"
MAX_KEY_BYTES = 4096
"""A personal access token has 232."""


def read_key_file(path: Path) -> str:
    """Return the key in a file, without the white space around it.

    Raises:
        SettingsInvalid: it cannot be read or holds no key; names the file and shows nothing of what is in it.
    """
    named = f"{path} ({KEY_FILE_VARIABLE})"
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe blocks, and can be read only once
            raise SettingsInvalid(f"{named} is no file that can be read again and again")
        with path.open("rb") as file:
            data = file.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise SettingsInvalid(f"{named} cannot be read: {error.strerror}") from error
    if len(data) > MAX_KEY_BYTES:
        raise SettingsInvalid(f"{named} has more than {MAX_KEY_BYTES} bytes, so it holds no key, or more than that")
    key = data.removeprefix(codecs.BOM_UTF8).decode("ascii", "replace").strip()
    if not key:
        raise SettingsInvalid(f"{named} is empty; put the key into it")
    return check_key(key, named)


def check_key(key: str, named: str = KEY_VARIABLE) -> str:
    """Return a key that fits into one HTTP header, or "".

    Raises:
        SettingsInvalid: it does not; the message names it `named`.
    """
    if not (key.isascii() and all("!" <= char <= "~" for char in key)):
        raise SettingsInvalid(f"{named} holds white space or characters that no key has")
    return key
