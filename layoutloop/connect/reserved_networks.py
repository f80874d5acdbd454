"""What to set where Label Studio's protection against requests to internal addresses (SSRF) refuses the shim.

Measured with 1.23.2: an ML backend is checked while ML_BLOCK_LOCAL_IP is on (the default), its webhook while
SSRF_PROTECTION_ENABLED is (the default). Both compare with the same networks: a list of their own unless
USE_DEFAULT_BANNED_SUBNETS is false, and those of USER_ADDITIONAL_BANNED_SUBNETS.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from layoutloop.studio.addresses import resolve
from layoutloop.studio.web_address import parse_web_address

LINK_LOCAL = "169.254.0.0/16"
LOCAL_NETWORKS = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", LINK_LOCAL, "172.16.0.0/12", "192.0.0.0/24"),
    *("192.168.0.0/16", "198.18.0.0/15", "::/128", "::1/128", "::ffff:0:0/96", "64:ff9b::/96", "2002::/16"),
    *("fc00::/7", "fe80::/10"),
)
"""Of Label Studio's own list those that a private network may have; the others are for documents and multicast."""

_LOOPBACK = ("127.0.0.0/8", "::1/128")
_BLOCK = re.compile(r"reserved network address \(block: ([0-9a-fA-F:./]+)\)")


def blocked_network(reason: str) -> str | None:
    """Return the network that Label Studio names in a refusal, None where it refuses for another reason."""
    found = _BLOCK.search(reason)
    return found[1] if found else None


def protection_advice(url: str, network: str) -> str:
    """Return what to set in Label Studio's environment so that it may call `url`, and nothing else that is internal.

    Args:
        url: the shim's address as Label Studio is given it.
        network: the one that Label Studio says it is in.
    """
    refused = f"Label Studio refuses {url}: its protection of internal addresses bans {network}"
    if network == LINK_LOCAL:
        return f"{refused}, where clouds keep their credentials. Give LayoutLoop another address (--shim-url)"
    if network not in LOCAL_NETWORKS:
        return f"{refused}. Take that network out of its USER_ADDITIONAL_BANNED_SUBNETS, restart it, and run this again"
    banned = ",".join(networks_to_ban(_addresses(url), network))
    return (
        f"{refused}. Start it with these two settings, which keep the protection on and open no other network, "
        "and run this again (neither ML_BLOCK_LOCAL_IP nor SSRF_PROTECTION_ENABLED has to be off):\n"
        f"  USE_DEFAULT_BANNED_SUBNETS=false\n  USER_ADDITIONAL_BANNED_SUBNETS={banned}"
    )


def networks_to_ban(addresses: Sequence[str], network: str) -> tuple[str, ...]:
    """Return the local networks without `network` and without those that any of the addresses is in.

    The network counts by itself, since a container's Label Studio may see the shim at another address than this
    machine; and loopback is one machine, whichever of its two networks the name `localhost` means there.
    """
    allowed = {network, *(_LOOPBACK if network in _LOOPBACK else ())}
    ours = [ipaddress.ip_address(address) for address in addresses]
    return tuple(
        other
        for other in LOCAL_NETWORKS
        if other == LINK_LOCAL
        or (other not in allowed and not any(address in ipaddress.ip_network(other) for address in ours))
    )


def _addresses(url: str) -> Sequence[str]:
    """Return what the host resolves to here; nothing where the name means something to Label Studio alone."""
    address = parse_web_address(url)
    try:
        return resolve(address.host, address.port)
    except OSError:
        return ()
