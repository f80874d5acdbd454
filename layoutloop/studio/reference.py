"""An image reference of a task, read once: where the image is, and which file is meant.

Serving fetches by it, training too, and `--images` looks for the file of that name. What may be fetched is decided
elsewhere (`image_fetcher`).
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, unquote

Kind = Literal["data", "studio", "cloud", "web", "other"]

CLOUD_SCHEMES = ("s3", "gs", "azure-blob")
_LOCAL, _STORED = "/data/local-files/?", "/storage-data/uploaded/?"
_RESOLVED = "/(?:tasks|projects)/[0-9]+/(?:resolve|presign)/?"
IMAGE_PATHS = re.compile(f"/data/upload/.+|{_LOCAL}|{_STORED}|{_RESOLVED}")
"""Paths of Label Studio that serve images."""
LOCAL_FILES = re.compile(_LOCAL)
"""The one whose `d` may be a path of Windows, with backslashes: Label Studio then runs on Windows."""
_PARAMETERS = tuple(
    (re.compile(f".*{path}"), name) for path, name in ((_LOCAL, "d"), (_STORED, "filepath"), (_RESOLVED, "fileuri"))
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")
_MOST_FIELDS = 20


@dataclass(frozen=True, slots=True)
class Reference:
    """An image reference taken apart; nothing is decoded yet.

    Args:
        kind: `studio` is a path of Label Studio, `cloud` an object that it resolves, `web` an http(s) address, `other`
            what nothing is fetched by, such as a plain file name.
        path: of Label Studio or the address, without the fragment; the key of an object; of `other`, all of it.
        query: without the question mark.
    """

    kind: Kind
    path: str
    query: str = ""

    @property
    def file(self) -> str:
        """Path of the file that is meant, decoded: with folders, as its storage names it."""
        if self.kind == "data":
            return ""
        named = named_file(self.path, self.query)
        if named is not None:
            inner = read_reference(named[1])
            return inner.path if inner.kind == "cloud" else named[1]
        return self.path if self.kind == "cloud" else unquote(self.path)

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names without folders that the file may have where it was copied to, likeliest first.

        Label Studio puts eight hex digits and a hyphen before the names of uploads. Keys of objects are taken as they
        are written, and percent-decoded if there is no such file. Systems store accented letters in one or two
        characters (NFC, NFD).
        """
        written = re.split(r"[/\\]", self.path)[-1] if self.kind == "other" else ""
        names = [re.split(r"[/\\]", text)[-1] for text in (self.file, unquote(self.file))] + [written]
        plain = dict.fromkeys(name for name in names if name) or {"": None}
        whole = dict.fromkeys(form for name in plain for form in (name, _UPLOAD_PREFIX.sub("", name, count=1)))
        forms = [unicodedata.normalize(form, name) for name in whole for form in ("NFC", "NFD")]
        return tuple(dict.fromkeys([*whole, *forms]))


def read_reference(text: str) -> Reference:
    """Take an image reference apart; what it is not understood by is `other`."""
    if text[:5].lower() == "data:":
        return Reference("data", "")
    if text.startswith("/"):
        return Reference("studio", *_path_and_query(text))
    scheme = _SCHEME.match(text)
    if scheme is None:
        return Reference("other", text)
    rest = text[scheme.end() :]
    if scheme[1].lower() in CLOUD_SCHEMES:
        return Reference("cloud", rest.partition("/")[2])
    if scheme[1].lower() in ("http", "https"):
        host = re.match(r"[^/?#]*", rest)
        return Reference("web", *_path_and_query(rest[host.end() if host else 0 :] or "/"))
    return Reference("other", text)


def named_file(path: str, query: str) -> tuple[str, str] | None:
    """Return which field of a query names a file, and that file, decoded; None where the path itself names it.

    Of a field that is there twice the last one counts, as it does for Label Studio.
    """
    field = next((name for pattern, name in _PARAMETERS if pattern.fullmatch(path)), None)
    try:
        named = dict(parse_qsl(query, max_num_fields=_MOST_FIELDS)).get(field or "")
    except ValueError:
        return None
    if field is None or named is None:
        return None
    return field, _object_address(named) if field == "fileuri" else named


def _path_and_query(text: str) -> tuple[str, str]:
    path, _, query = text.partition("#")[0].partition("?")
    return path, query


def _object_address(text: str) -> str:
    """Return what Label Studio makes of `fileuri`: URL-safe base64 of the object's address, or the address itself."""
    try:
        return base64.b64decode(text, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError):
        return unquote(text)
