"""Numbers that may be connected, names that may be asked, and TLS that still checks the name."""

from __future__ import annotations

import ipaddress
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from layoutloop.errors import AddressRefused, HostUnreachable, ImageUnavailable, SettingsInvalid
from layoutloop.studio.addresses import Guard, is_public, open_pools, parse_networks
from layoutloop.studio.api_key import LabelStudioKey
from layoutloop.studio.image_fetcher import ImageFetcher, ImageRules
from layoutloop.studio.web_address import parse_host_rules, parse_web_address
from tests.far_servers import IMAGE, LEGACY_KEY, Names, answer_anyone, serve

# fmt: off
PRIVATE = (  # members of every range that is not the public internet
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "169.254.169.254",  # noqa: S104 - no bind
    "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::7f00:1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::1", "3fff::1", "5f00::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%1", "fec0::1", "ff02::1", "4000::1",
)
PUBLIC = (  # and their neighbours
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0",
    "192.167.255.255", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001:80b::200e", "::ffff:8.8.8.8",
    "64:ff9b::808:808", "2002:808:808::1",
)
# fmt: on


@pytest.mark.parametrize("address", PRIVATE)
def test_private(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    assert not Guard().allows(address)
    assert Guard(anywhere=True).allows(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert Guard().allows(address)


def test_networks_also_cover_embedded_addresses() -> None:
    guard = Guard(parse_networks(("10.20.0.0/16", " fd00:1::/32")))
    assert all(guard.allows(address) for address in ("10.20.3.4", "::ffff:10.20.3.4", "64:ff9b::a14:304", "fd00:1::9"))
    assert not any(guard.allows(address) for address in ("10.21.3.4", "::ffff:10.21.3.4", "fd00:2::9", "no address"))


def test_only_allowed_addresses_of_a_name_are_connected() -> None:
    names = Names({"mixed.test": [["10.0.0.5", "127.0.0.2", "::1"]]})
    guard = Guard(parse_networks(("127.0.0.2/32",)), names)
    assert guard.addresses("mixed.test", 80) == ["127.0.0.2"]
    with serve("127.0.0.2", answer_anyone) as server:
        pools = open_pools(guard)
        assert pools.connection_from_host("mixed.test", server.port, "http").urlopen("GET", "/ok").data == IMAGE
        pools.clear()
    assert server.seen[0].headers["Host"] == f"mixed.test:{server.port}"
    assert names.asked == ["mixed.test"] * 2  # once above, once for the one connection


def test_first_address_that_answers_is_taken() -> None:
    with serve("127.0.0.3", answer_anyone) as server:
        names = Names({"two.test": [["127.0.0.2", "127.0.0.3"]]})
        pools = open_pools(Guard(parse_networks(("127.0.0.0/8",)), names))
        assert pools.connection_from_host("two.test", server.port, "http").urlopen("GET", "/ok").data == IMAGE
        pools.clear()


def test_name_that_does_not_resolve() -> None:
    with pytest.raises(HostUnreachable, match=r"gone\.test does not resolve"):
        Guard(resolver=Names({})).addresses("gone.test", 80)
    with pytest.raises(HostUnreachable, match="does not resolve"):
        Guard().addresses("a" * 70 + ".test", 80)


def test_proxy_and_netrc_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.2 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serve("127.0.0.2", answer_anyone) as server:
        fetcher = ImageFetcher("", LabelStudioKey("", ""), ImageRules((f"127.0.0.2:{server.port}",), ("127.0.0.2/32",)))
        assert fetcher.fetch(f"http://127.0.0.2:{server.port}/ok") == IMAGE
        fetcher.close()
    assert "Authorization" not in server.seen[0].headers


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "example.com", "", "10.0.0.0/33"])
def test_bad_network_fails_at_start(entry: str) -> None:
    with pytest.raises(SettingsInvalid, match="LAYOUTLOOP_IMAGE_NETWORKS"):
        parse_networks((entry,))


@pytest.mark.parametrize(
    "entry", ["http://a.test", "a.test/x", "*", "*.", "", "a.test:0", "a.test:x", "u@a.test", "a*.test"]
)
def test_bad_host_fails_at_start(entry: str) -> None:
    with pytest.raises(SettingsInvalid, match="LAYOUTLOOP_IMAGE_HOSTS"):
        parse_host_rules((entry,))


@pytest.mark.parametrize(
    ("entry", "url", "allowed"),
    [
        pytest.param("a.test", "http://a.test/", True, id="port 80"),
        pytest.param("a.test", "https://A.test:443/", True, id="port 443, written"),
        pytest.param("a.test", "http://a.test:443/", False, id="default port of the other scheme"),
        pytest.param("a.test", "http://a.test:8080/", False, id="other port"),
        pytest.param("a.test:8080", "https://a.test:8080/", True, id="named port"),
        pytest.param("a.test:8080", "https://a.test/", False, id="another than the named port"),
        pytest.param("*.a.test", "http://x.y.a.test/", True, id="sub-domain"),
        pytest.param("*.a.test", "http://a.test/", False, id="wildcard is not the domain itself"),
        pytest.param("*.a.test", "http://xa.test/", False, id="wildcard needs the dot"),
        pytest.param("[0:0::1]:80", "http://[::1]/", True, id="IPv6 in two spellings"),
    ],
)
def test_host_rules(entry: str, url: str, allowed: bool) -> None:
    assert parse_host_rules((entry,))[0].allows(parse_web_address(url)) is allowed


@pytest.mark.parametrize(
    "url",
    ["http://", "http:///x", "http://a:99999/", "http://[1.2.3.4]/", "http://[fe80::1%251]/", "http://a@b/", "http://@b/",
     "http://a%2eb/", "http://-a/", "http://a\tb/", "http:a", "javascript:x", "http://ä.test/"],
)  # fmt: skip
def test_unclear_addresses_are_refused(url: str) -> None:
    with pytest.raises(AddressRefused):
        parse_web_address(url)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server context for tls.test and the certificate to trust."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=tls.test", "-addext", "subjectAltName=DNS:tls.test", "-out", certificate, "-keyout", key],
        check=True, capture_output=True,
    )  # fmt: skip
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, certificate


@pytest.fixture
def secure(tls: tuple[ssl.SSLContext, Path]) -> Iterator[tuple[ImageFetcher, int]]:
    """A fetcher that trusts the certificate and may ask anyone at 127.0.0.2, and the port of the TLS server."""
    names = Names({"tls.test": [["127.0.0.2"]], "other.test": [["127.0.0.2"]]})
    with serve("127.0.0.2", answer_anyone, tls[0]) as server:
        hosts = (f"*.test:{server.port}", "tls.test")
        context = ssl.create_default_context(cafile=str(tls[1]))
        url = f"https://tls.test:{server.port}"
        rules = ImageRules(hosts, ("127.0.0.2",), 10**6, 1.0, names, context)
        fetcher = ImageFetcher(url, LabelStudioKey(url, LEGACY_KEY), rules)
        yield fetcher, server.port
        fetcher.close()


def test_tls_checks_the_name_and_not_the_number(secure: tuple[ImageFetcher, int]) -> None:
    fetcher, port = secure
    assert fetcher.fetch(f"https://tls.test:{port}/data/upload/1/a.png") == IMAGE
    with pytest.raises(ImageUnavailable, match=r"no valid certificate.*other\.test"):
        fetcher.fetch(f"https://other.test:{port}/a.png")


def test_unknown_authority_is_refused(tls: tuple[ssl.SSLContext, Path]) -> None:
    with serve("127.0.0.2", answer_anyone, tls[0]) as server:
        url = f"https://tls.test:{server.port}"
        fetcher = ImageFetcher(
            url, LabelStudioKey(url, LEGACY_KEY), ImageRules(resolver=Names({"tls.test": [["127.0.0.2"]]}))
        )
        with pytest.raises(ImageUnavailable, match="SSL_CERT_FILE"):
            fetcher.fetch("/data/upload/1/a.png")
        fetcher.close()
    assert not server.seen


@pytest.mark.parametrize("target", ["http://tls.test/data/upload/1/a.png", "http://127.0.0.2/a.png"])
def test_redirect_from_https_to_http_is_refused(target: str, secure: tuple[ImageFetcher, int]) -> None:
    with pytest.raises(AddressRefused, match="from https to http"):
        secure[0].fetch(f"/data/upload/1/to?{target}")


@pytest.mark.parametrize("name", ["drip", "drip-header", "drip-size"])
def test_slow_drips_over_tls_end_at_the_deadline(name: str, secure: tuple[ImageFetcher, int]) -> None:
    began = time.monotonic()
    with pytest.raises(ImageUnavailable, match="in time"):
        secure[0].fetch(f"/data/upload/1/{name}")
    assert time.monotonic() - began < 2.5
