"""What docker-compose.yml hands on of .env, and what it has Label Studio ban; nothing runs here."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from layoutloop.settings.serving import Settings, refuse_mistyped
from layoutloop.settings.serving import variable_of as setting
from layoutloop.settings.training import TrainSettings
from layoutloop.settings.training import variable_of as training_setting
from layoutloop.settings.variables import READ_ELSEWHERE

ROOT = Path(__file__).resolve().parent.parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
STUDIO = SERVICES["label-studio"]["environment"]

SHIM = {"shim"}
TORCHSERVES = {"torchserve", "torchserve-gpu"}
TRAINERS = {"trainer", "trainer-gpu", "demo"}
CLIENTS = SHIM | TRAINERS
OURS_RUNNING = sorted(CLIENTS | TORCHSERVES)
TRAIN_SETTINGS = {training_setting(name) for name in TrainSettings.__slots__}
SETTINGS = {setting(name) for name in Settings.__slots__} | READ_ELSEWHERE | TRAIN_SETTINGS
NOT_FROM_ENV = {
    **dict.fromkeys(("MODEL_DIR", "LAYOUTLOOP_HOME", "LAYOUTLOOP_CACHE_DIR"), "a volume, at the image's own place"),
    **dict.fromkeys(("LAYOUTLOOP_PORT", "LAYOUTLOOP_TORCHSERVE_PORT"), "a port inside a container"),
    **dict.fromkeys(("LAYOUTLOOP_HOST", "LAYOUTLOOP_TORCHSERVE_HOST"), "the networks say who reaches it"),
    **dict.fromkeys(
        ("LABEL_STUDIO_URL", "LAYOUTLOOP_TORCHSERVE_URL", "REDIS_URL", "LAYOUTLOOP_SHIM_URL"), "another service here"
    ),
    **dict.fromkeys(("LAYOUTLOOP_VENV", "LAYOUTLOOP_LABEL_STUDIO_VENV", "LAYOUTLOOP_CHROMIUM"), "of a checkout"),
    "LABEL_STUDIO_API_KEY": "LABEL_STUDIO_USER_TOKEN, which Label Studio's service gets as well",
    "LAYOUTLOOP_ALLOW_OPEN_BIND": "TorchServe's services have it, and the shim has Basic auth",
}
"""Settings that nobody gives in .env, and why."""
READ_BY = {
    **dict.fromkeys(TRAIN_SETTINGS, TRAINERS),
    **dict.fromkeys(("LAYOUTLOOP_SCORE_THRESHOLD", "LAYOUTLOOP_READ_ONLY_BOXES"), SHIM),
    "LAYOUTLOOP_DEADLINE_S": SHIM | TORCHSERVES,
    **dict.fromkeys(("LAYOUTLOOP_MAX_PREDICTS", "LAYOUTLOOP_MAX_WAITING_PAGES", "LAYOUTLOOP_MAX_TASKS"), SHIM),
    "LAYOUTLOOP_HOSTS": SHIM,
    **dict.fromkeys(("LAYOUTLOOP_IMAGE_HOSTS", "LAYOUTLOOP_IMAGE_NETWORKS"), CLIENTS),
    **dict.fromkeys(("LAYOUTLOOP_MAX_IMAGE_BYTES", "LAYOUTLOOP_TRAIN_EVERY", "LAYOUTLOOP_PRELABEL"), CLIENTS),
    "LAYOUTLOOP_PRELABEL_REMOVE_OLD": TRAINERS,
    **dict.fromkeys(("BASIC_AUTH_USER", "BASIC_AUTH_PASS"), CLIENTS),
    "LAYOUTLOOP_CACHE_BYTES": TORCHSERVES,
}
"""Whoever reads a setting; all of them, where none is named."""
BANNED_BY_LABEL_STUDIO = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    *("224.0.0.0/4", "233.252.0.0/24", "240.0.0.0/4", "255.255.255.255/32"),
    *("::/128", "::1/128", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64"),
    *("2001:0000::/32", "2001:20::/28", "2001:db8::/32", "2002::/16", "fc00::/7", "fe80::/10", "ff00::/8"),
)
"""Of 1.23.2, core/utils/io.py, validate_ip."""
_VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::[-?][^}]*)?\}")


def from_env(service: str) -> dict[str, str]:
    """The variables of a service that are one variable of .env, and its name there."""
    environ = SERVICES[service]["environment"].items()
    return {key: found[1] for key, value in environ if (found := _VARIABLE.fullmatch(value))}


def test_every_setting_comes_from_env_or_has_a_reason_not_to() -> None:
    given = {key for name in OURS_RUNNING for key, value in from_env(name).items() if key == value}
    assert sorted(SETTINGS - given) == sorted(NOT_FROM_ENV)


@pytest.mark.parametrize("name", OURS_RUNNING)
def test_a_service_gets_the_settings_that_it_reads(name: str) -> None:
    wanted = {one for one in SETTINGS - NOT_FROM_ENV.keys() if name in READ_BY.get(one, OURS_RUNNING)}
    assert {key for key in from_env(name) if key in SETTINGS - NOT_FROM_ENV.keys()} == wanted


@pytest.mark.parametrize("name", OURS_RUNNING)
def test_a_services_settings_are_settings(name: str) -> None:
    environ = {
        key: re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", value) for key, value in SERVICES[name]["environment"].items()
    }
    given = {key: re.sub(r"\$\{.*?\}", "x", value) for key, value in environ.items()}
    refuse_mistyped(given)
    settings = Settings.from_env(given)
    TrainSettings.from_env({key: value for key, value in given.items() if value})
    if name.startswith("torchserve"):
        assert settings.torchserve_host == "0.0.0.0"  # noqa: S104 - of a container, on an inner network
    else:
        assert settings.torchserve_url == "http://torchserve:7080"
        assert settings.basic_auth_pass


def collapsed(networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> list[object]:
    """The same addresses in as few networks as can be, to compare two lists."""
    known = list(networks)
    fours = [one for one in known if isinstance(one, ipaddress.IPv4Network)]
    sixes = [one for one in known if isinstance(one, ipaddress.IPv6Network)]
    return [*ipaddress.collapse_addresses(fours), *ipaddress.collapse_addresses(sixes)]


def test_label_studio_may_ask_nothing_it_would_ban_but_the_shims_network() -> None:
    (pool,) = COMPOSE["networks"]["studio"]["ipam"]["config"]
    shared = ipaddress.IPv4Network(pool["subnet"])
    gateway = ipaddress.IPv4Address(pool["gateway"])
    expected: set[ipaddress.IPv4Network | ipaddress.IPv6Network] = {ipaddress.IPv4Network((shared[0], 31))}
    for own in map(ipaddress.ip_network, BANNED_BY_LABEL_STUDIO):
        inside = isinstance(own, ipaddress.IPv4Network) and shared.subnet_of(own)
        expected |= set(own.address_exclude(shared)) if inside else {own}  # type: ignore[arg-type]
    banned = [ipaddress.ip_network(one) for one in STUDIO["USER_ADDITIONAL_BANNED_SUBNETS"].split(",")]
    assert collapsed(banned) == collapsed(expected)
    assert any(gateway in network for network in banned), "the gateway is the machine that runs all this"
    assert (STUDIO["USE_DEFAULT_BANNED_SUBNETS"], STUDIO["SSRF_PROTECTION_ENABLED"], STUDIO["ML_BLOCK_LOCAL_IP"]) == (
        *("false", "true", "true"),
    )
    assert SERVICES["label-studio"]["networks"] == ["studio"]


def test_what_label_studio_bans_is_what_the_installed_one_bans() -> None:
    folder = Path(os.environ.get("LAYOUTLOOP_LABEL_STUDIO_VENV") or ROOT / ".venv-label-studio")
    found = list(folder.glob("lib/python*/site-packages/label_studio/core/utils/io.py"))
    assert found, f"no Label Studio in {folder}; scripts/test.sh installs it"
    listed = found[0].read_text(encoding="utf-8").partition("default_banned_subnets = [")[2].partition("\n    ]")[0]
    assert set(re.findall(r"^\s*'([^']+)',", listed, flags=re.MULTILINE)) == set(BANNED_BY_LABEL_STUDIO)
