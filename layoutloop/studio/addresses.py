"""Which addresses the shim may connect to, decided on the address that is really connected.

A name is resolved and connected in one step: the addresses that were checked are those that are connected, so a name
that resolves differently a moment later (DNS rebinding) gains nothing. TLS and the Host header keep the name. No
proxies, no netrc, no cookies: urllib3 is used without the layers that add them.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from layoutloop.errors import AddressRefused, HostUnreachable, SettingsInvalid

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], Sequence[str]]
"""Host and port in, numeric addresses out, best first; raises OSError when there are none."""

CONNECT_TIMEOUT_S = 10.0
CONNECTIONS_PER_HOST = 32
# The ipaddress module of Python 3.10 to 3.12 is wrong about some of these (CVE-2024-4032), so they are written out.
_SPECIAL_IPV4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
)
_GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
_SPECIAL_IPV6 = tuple(ipaddress.IPv6Network(net) for net in ("2001::/23", "2001:db8::/32", "3fff::/20"))
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def embedded_ipv4(address: IpAddress) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for (IPv4-mapped, 6to4 or NAT64), if any."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def is_public(address: IpAddress) -> bool:
    """Whether an address means the same machine everywhere on the internet."""
    embedded = embedded_ipv4(address)
    if embedded is not None:
        return is_public(embedded)
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _SPECIAL_IPV4)
    return address in _GLOBAL_IPV6 and not any(address in network for network in _SPECIAL_IPV6)


def resolve(host: str, port: int) -> list[str]:
    """Return the numeric addresses of a host as the system resolves it, in the order to try them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def parse_networks(entries: Sequence[str]) -> tuple[IpNetwork, ...]:
    """Turn the setting LAYOUTLOOP_IMAGE_NETWORKS into networks.

    Raises:
        SettingsInvalid: an entry is not a network such as 10.20.0.0/16.
    """
    try:
        return tuple(ipaddress.ip_network(entry.strip()) for entry in entries)
    except ValueError as error:
        raise SettingsInvalid(
            f"LAYOUTLOOP_IMAGE_NETWORKS: {error}; write networks such as 10.20.0.0/16, with commas between"
        ) from error


@dataclass(frozen=True, slots=True)
class Guard:
    """Decides to which numeric addresses a connection may be opened.

    Args:
        networks: networks allowed beside the public internet.
        resolver: name to numeric addresses.
        anywhere: allow every address; for the one host that the operator configured.
    """

    networks: tuple[IpNetwork, ...] = ()
    resolver: Resolver = resolve
    anywhere: bool = False

    def allows(self, text: str) -> bool:
        """Whether a connection may be opened to this numeric address."""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        forms = [form for form in (address, embedded_ipv4(address)) if form is not None]
        return self.anywhere or is_public(address) or any(form in net for net in self.networks for form in forms)

    def addresses(self, host: str, port: int) -> list[str]:
        """Resolve a host to the numeric addresses that may be connected, best first.

        Raises:
            HostUnreachable: the name does not resolve.
            AddressRefused: it resolves only to addresses that are not allowed.
        """
        try:
            found = list(self.resolver(host, port))
        except (OSError, UnicodeError) as error:
            raise HostUnreachable(f"the host name {host} does not resolve: {error}") from error
        allowed = [address for address in found if self.allows(address)]
        if not allowed:
            raise AddressRefused(
                f"{host} is at {', '.join(found[:4]) or 'no address'}, which is not on the public internet; "
                "if it is one of your own image servers, add its network to LAYOUTLOOP_IMAGE_NETWORKS"
            )
        return allowed


class _DeadlineSocket(socket.socket):
    """Limits what is received in all, not only each packet: a slow drip of bytes ends at the deadline."""

    deadline = float("inf")

    def recv_into(self, buffer: WriteableBuffer, *limits: int) -> int:
        self.settimeout(_remaining_s(self.deadline))
        return super().recv_into(buffer, *limits)


class _DeadlineTlsSocket(_DeadlineSocket, ssl.SSLSocket):  # type: ignore[misc]  # both take what a caller gives
    """The same over TLS."""


def _remaining_s(deadline: float) -> float | None:
    if deadline == float("inf"):
        return CONNECT_TIMEOUT_S
    remaining_s = deadline - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError("the time for the whole answer is over")
    return remaining_s


def _connect(host: str, port: int, timeout_s: float, guard: Guard) -> socket.socket:
    """Open a connection to one of the addresses that the guard allows for this host."""
    deadline = time.monotonic() + timeout_s
    addresses = guard.addresses(host, port)[:8]
    problem: OSError = TimeoutError("timed out")
    for index, address in enumerate(addresses):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        connection = _DeadlineSocket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(max(0.05, (deadline - time.monotonic()) / (len(addresses) - index)))
            connection.connect((address, port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connection.close()
            problem = error
        else:
            return connection
    raise HostUnreachable(f"{host}:{port} does not take connections: {problem}") from problem


class _GuardedConnection(HTTPConnection):
    """Connects through a guard; its read timeout limits header and body together."""

    def __init__(self, *args: Any, guard: Guard, **options: Any) -> None:
        super().__init__(*args, **options)
        self._guard = guard

    def _new_conn(self) -> socket.socket:
        timeout_s = self.timeout if isinstance(self.timeout, int | float) else CONNECT_TIMEOUT_S
        return _connect(self.host, int(self.port or self.default_port), timeout_s, self._guard)

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        if isinstance(self.sock, _DeadlineSocket) and self.timeout is not None:
            self.sock.deadline = time.monotonic() + self.timeout
        return super().getresponse()


class _GuardedTlsConnection(_GuardedConnection, HTTPSConnection):
    """The same over TLS, with the certificate checked against the name."""


class _PoolManager(urllib3.PoolManager):
    """Connection pools whose connections all go through one guard."""

    def __init__(self, guard: Guard, context: ssl.SSLContext) -> None:
        super().__init__(maxsize=CONNECTIONS_PER_HOST, retries=False, ssl_context=context)
        self._guard = guard

    def _new_pool(self, scheme: str, *args: Any, **options: Any) -> urllib3.HTTPConnectionPool:
        pool = super()._new_pool(scheme, *args, **options)
        connection = _GuardedTlsConnection if scheme == "https" else _GuardedConnection
        pool.ConnectionCls = functools.partial(connection, guard=self._guard)  # type: ignore[assignment]
        return pool


@functools.cache
def _default_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def open_pools(guard: Guard, context: ssl.SSLContext | None = None) -> urllib3.PoolManager:
    """Make thread-safe connection pools that only connect to what the guard allows.

    Use `pools.connection_from_host(host, port, scheme).urlopen(...)`, which parses no URL again.
    A read timeout given there limits the whole answer. Certificates are checked against the system's
    authorities (also those of SSL_CERT_FILE) and certifi's, unless a context is given.
    """
    context = context or _default_context()
    context.sslsocket_class = _DeadlineTlsSocket
    return _PoolManager(guard, context)
