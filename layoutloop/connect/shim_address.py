"""Where Label Studio reaches the shim: one address in all its spellings, its Basic auth, and whether it answers."""

from __future__ import annotations

from dataclasses import dataclass

import requests
from urllib3 import make_headers

from layoutloop.errors import AddressRefused, HostUnknown, NotConnected, SettingsInvalid
from layoutloop.settings.serving import Settings
from layoutloop.studio.status import DISCONNECTED
from layoutloop.studio.web_address import parse_web_address
from layoutloop.torchserve.inference import make_session

_TIMEOUT_S = 5.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class ShimAddress:
    """Where Label Studio reaches the shim, and the Basic auth that the shim requires.

    Args:
        url: as Label Studio is given it, without a final slash.
        user: Basic auth; "" for none.
        password: likewise.

    Raises:
        SettingsInvalid: the address is no http(s) address, or Label Studio cannot send this Basic auth.
    """

    url: str
    user: str = ""
    password: str = ""

    def __post_init__(self) -> None:
        try:
            parse_web_address(self.url)
        except AddressRefused as error:
            raise SettingsInvalid(
                f"the shim's address {self.url!r:.200} cannot be used; write for example http://127.0.0.1:9090"
            ) from error
        if not (self.user + self.password).isascii():
            raise SettingsInvalid(
                "BASIC_AUTH_USER and BASIC_AUTH_PASS must be plain ASCII: "
                "Label Studio sends other characters as Latin-1, and the shim reads UTF-8"
            )

    @classmethod
    def of(cls, url: str, settings: Settings) -> ShimAddress:
        """Return the address with the Basic auth of the settings."""
        return cls(url.rstrip("/"), settings.basic_auth_user, settings.basic_auth_pass)

    @property
    def webhook(self) -> str:
        """Where Label Studio sends events."""
        return f"{self.url}/webhook"

    @property
    def headers(self) -> dict[str, str]:
        """What a request to the shim must carry, such as a webhook's."""
        if not self.user:
            return {}
        return {"Authorization": make_headers(basic_auth=f"{self.user}:{self.password}")["authorization"]}

    def is_at(self, url: object, path: str = "") -> bool:
        """Whether a URL of Label Studio's records is this shim's; the names of loopback are one."""
        return isinstance(url, str) and _place(url) == _place(self.url + path)


def check_shim(shim: ShimAddress) -> str:
    """Check that the shim is up and takes our Basic auth; return a sentence.

    Raises:
        NotConnected: nothing, something else, or a shim with another Basic auth answers there.
    """
    try:
        with make_session() as session:
            answer = session.get(f"{shim.url}/health", headers=shim.headers, timeout=_TIMEOUT_S, allow_redirects=False)
            body = answer.json()
    except requests.JSONDecodeError:
        body = None
    except requests.RequestException as error:
        raise NotConnected(
            f"no shim answers at {shim.url} ({type(error).__name__}): start scripts/serve.sh, "
            "or give the address where it is (LAYOUTLOOP_PORT, --shim-url)"
        ) from error
    if answer.status_code == HostUnknown.status:
        name = parse_web_address(shim.url).host
        raise NotConnected(
            f"the shim at {shim.url} is not to be called by that name: start it with LAYOUTLOOP_HOSTS={name}, or with "
            "BASIC_AUTH_USER and BASIC_AUTH_PASS"
        )
    if not isinstance(body, dict) or body.get("status") != "UP" or "ready" not in body:
        raise NotConnected(f"{shim.url}/health is answered by something that is not LayoutLoop")
    if "model_dir" not in body:  # shown only to those whose Basic auth it takes
        wrong = "does not take the BASIC_AUTH_USER and BASIC_AUTH_PASS set here" if shim.user else "wants Basic auth"
        raise NotConnected(f"the shim at {shim.url} {wrong}: set both as they were set when it was started")
    waiting = "" if body["ready"] else ", but is not ready yet; its /health says what it waits for"
    return f"the shim answers at {shim.url}{' with Basic auth' if shim.user else ''}{waiting}"


def tell_disconnected(shim: ShimAddress, project: int) -> None:
    """Send the shim, as a webhook would, that a project is disconnected, so that its dashboard drops the project.

    Raises:
        NotConnected: it was not received.
    """
    event = {"action": DISCONNECTED, "project": {"id": project}}
    try:
        with make_session() as session:
            session.post(
                shim.webhook, json=event, headers=shim.headers, timeout=_TIMEOUT_S, allow_redirects=False
            ).raise_for_status()
    except requests.RequestException as error:
        raise NotConnected(
            f"the shim at {shim.url} could not be reached ({type(error).__name__}): where the project has no version "
            "yet, its dashboard drops it by itself after 30 days"
        ) from error


def _place(url: str) -> tuple[str, str, int, str] | str:
    try:
        address = parse_web_address(url)
    except AddressRefused:
        return url
    host = _LOOPBACK[0] if address.host in _LOOPBACK else address.host
    return address.scheme, host, address.port, address.path.rstrip("/")
