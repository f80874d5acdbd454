"""An http(s) address parsed once, the hosts that may be contacted, and paths that stay where they belong."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, unquote, urlsplit

from layoutloop.errors import AddressRefused, SettingsInvalid
from layoutloop.studio.reference import LOCAL_FILES

DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9_])?")


@dataclass(frozen=True, slots=True)
class WebAddress:
    """An http(s) address parsed once, so that what is checked is what is requested.

    Args:
        scheme: `http` or `https`.
        host: lower case, without a final dot; IPv6 without brackets.
        port: always explicit.
        path: as written, beginning with a slash.
        query: as written, without the question mark.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port."""
        return self.scheme, self.host, self.port

    @property
    def target(self) -> str:
        """The target in the request line."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def base(self) -> str:
        """The address up to the path, without a default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    def below(self, path: str, query: str = "") -> WebAddress:
        """Return the address of a path below this one."""
        return replace(self, path=self.path.rstrip("/") + path, query=query)

    def __str__(self) -> str:
        """The address for messages: no query, for it may hold a signature."""
        return self.base + self.path[:200]


def parse_web_address(url: str) -> WebAddress:
    """Parse an absolute http(s) URL.

    Raises:
        AddressRefused: it is no such URL, or one that programs parse differently.
    """
    check_characters(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressRefused("an address has a host or port that cannot be read") from error
    if parts.scheme not in DEFAULT_PORTS:
        raise AddressRefused(f"an address begins with http:// or https://, not with {parts.scheme[:20] or 'a path'}")
    if "@" in parts.netloc:
        raise AddressRefused("an address with a user name or password in it is refused")
    host = _checked_host((parts.hostname or "").removesuffix("."), bracketed="[" in parts.netloc)
    return WebAddress(
        parts.scheme, host, DEFAULT_PORTS[parts.scheme] if port is None else port, parts.path or "/", parts.query
    )


def parse_studio_url(url: str) -> WebAddress:
    """Parse the setting LABEL_STUDIO_URL.

    Raises:
        SettingsInvalid: it is no address.
    """
    try:
        return parse_web_address(url.strip())
    except AddressRefused as error:
        raise SettingsInvalid(f"LABEL_STUDIO_URL: {error}; write for example http://127.0.0.1:8080") from error


def _checked_host(host: str, bracketed: bool) -> str:
    """Return a plain host name as it is, an IPv6 address in its one short spelling."""
    if bracketed and "%" not in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError as error:
            raise AddressRefused("an address has brackets around something that is not IPv6") from error
    if not _HOST_NAME.fullmatch(host):
        raise AddressRefused("an address has no plain host name (write international names in punycode)")
    return host


@dataclass(frozen=True, slots=True)
class HostRule:
    """One entry of LAYOUTLOOP_IMAGE_HOSTS.

    Args:
        host: `images.example.com`, or for its sub-domains `.example.com`.
        port: the port it allows; None means 80 with http and 443 with https.
    """

    host: str
    port: int | None

    def allows(self, address: WebAddress) -> bool:
        """Whether this entry covers the host and port of an address."""
        same = address.host.endswith(self.host) if self.host.startswith(".") else address.host == self.host
        return same and address.port == (self.port or DEFAULT_PORTS[address.scheme])


def parse_host_rules(entries: Sequence[str]) -> tuple[HostRule, ...]:
    """Turn the setting LAYOUTLOOP_IMAGE_HOSTS (`host`, `host:port`, `*.host`, `*.host:port`) into rules.

    Raises:
        SettingsInvalid: an entry is something else, such as a URL.
    """
    rules = []
    for entry in entries:
        wildcard = entry.strip().startswith("*.")
        name = entry.strip().removeprefix("*.")
        try:
            address = parse_web_address(f"http://{name}")
            port = urlsplit(f"//{name}").port
        except (AddressRefused, ValueError) as error:
            raise SettingsInvalid(_bad_host(entry)) from error
        if address.target != "/" or "/" in name or "?" in name or "#" in name or port == 0:
            raise SettingsInvalid(_bad_host(entry))
        rules.append(HostRule("." + address.host if wildcard else address.host, port))
    return tuple(rules)


def _bad_host(entry: str) -> str:
    return f"LAYOUTLOOP_IMAGE_HOSTS: {entry!r} is not host, host:port, *.host or *.host:port"


def check_characters(reference: str) -> None:
    """Refuse what programs parse in different ways.

    Raises:
        AddressRefused: a backslash or control character is in it.
    """
    check_controls(reference)
    if "\\" in reference:
        raise AddressRefused(
            "an image reference with a backslash is refused: write it as %5C where a file is called so"
        )


def check_controls(reference: str) -> None:
    """Refuse what may end a line of a request.

    Raises:
        AddressRefused: a control character is in it.
    """
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in reference):
        raise AddressRefused("an image reference with a control character is refused")


def check_path(path: str, query: str) -> None:
    """Refuse what could leave the folder that Label Studio serves, at every level of percent-decoding.

    The `d` of a local file may be a path of Windows, with backslashes between its folders, and may have empty folders,
    which Label Studio passes over; but it may not begin with two slashes of either kind, which is a host to Windows.
    The `fileuri` of a cloud object is no folder, so only its characters are checked.

    Raises:
        AddressRefused: the path or a value of the query has `.`, `..` or empty segments, or is no plain text.
    """
    try:
        values = parse_qsl(query, keep_blank_values=True, max_num_fields=20)
    except ValueError as error:
        raise AddressRefused("an image reference has a query that cannot be read") from error
    is_local = LOCAL_FILES.fullmatch(path) is not None
    for name, text in [("", path), *values]:
        for level in _decodings(text):
            if name == "d" and is_local:
                check_controls(level)
                leaves = _leaves_folder(level.replace("\\", "/"), inner_empty=True)
            else:
                check_characters(level)
                leaves = name != "fileuri" and _leaves_folder(level, inner_empty=False)
            if leaves:
                raise AddressRefused(
                    f"{path[:200]} of Label Studio names a folder with . or .. or //, which is refused"
                )


def _leaves_folder(level: str, *, inner_empty: bool) -> bool:
    segments = [segment.partition(";")[0].strip() for segment in level.split("/")]
    empty = level.startswith("//") if inner_empty else "//" in level
    return empty or "." in segments or ".." in segments


def _decodings(text: str) -> Iterator[str]:
    """Yield the text as written, percent-decoded once, twice, and so on until nothing changes."""
    for _ in range(8):
        yield text
        decoded = unquote(text)
        if decoded == text:
            return
        text = decoded
    raise AddressRefused("an image reference that is percent-encoded over and over is refused")
