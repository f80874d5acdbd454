"""Good references give bytes; every attack of the table ends in its error, and nobody else saw the key."""

from __future__ import annotations

import base64
import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

import pytest

from handler.errors import ImageTooLarge, ImageUnreadable
from layoutloop.errors import AddressRefused, ImageSourceUnreachable, ImageUnavailable, LayoutLoopError, SettingsInvalid
from layoutloop.studio.api_key import LabelStudioKey
from layoutloop.studio.data_uri import decode_data_uri
from layoutloop.studio.image_fetcher import ImageFetcher, ImageRules
from tests.attacks import ADDRESSES, ATTACKS, Attack, names, tells_a_secret, try_attack
from tests.far_servers import IMAGE, LEGACY_KEY, PERSONAL_KEY, SECRET, Stage, open_stage

MakeFetcher = Callable[..., ImageFetcher]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with open_stage() as stage:
        yield stage


@pytest.fixture
def make_fetcher(stage: Stage) -> Iterator[MakeFetcher]:
    opened: list[ImageFetcher | LabelStudioKey] = []
    stage.forget_requests()

    def make(
        key: str = LEGACY_KEY, prefix: str = "", hosts: tuple[str, ...] = ("friend.test:{friend}",)
    ) -> ImageFetcher:
        url = stage.fill("http://127.0.0.1:{studio}") + prefix
        credentials = LabelStudioKey(url, key)
        filled = tuple(stage.fill(host) for host in hosts)
        rules = ImageRules(filled, ("127.0.0.2/32",), timeout_s=5, resolver=names())
        fetcher = ImageFetcher(url, credentials, rules)
        opened.extend((fetcher, credentials))
        return fetcher

    yield make
    for thing in opened:
        thing.close()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack_fails(attack: Attack, stage: Stage) -> None:
    outcome = try_attack(attack, stage)
    assert type(outcome.error) is attack.error
    assert not outcome.key_elsewhere
    assert not outcome.stranger_asked
    assert outcome.seconds < 3
    assert not tells_a_secret(str(outcome.error))
    assert len(str(outcome.error)) < 700


@pytest.mark.parametrize(
    "attack",
    [row for row in ADDRESSES if row.name.startswith("loopback") and "[" not in row.name],
    ids=lambda a: a.name,
)
def test_only_the_address_stopped_those_attacks(attack: Attack, stage: Stage) -> None:
    """The same reference with loopback allowed reaches the stranger, so the rows above test the guard."""
    key = LabelStudioKey("", LEGACY_KEY)
    hosts = tuple(stage.fill(host) for host in attack.hosts)
    fetcher = ImageFetcher("", key, ImageRules(hosts, ("127.0.0.0/8", "0.0.0.0/32")))
    stage.forget_requests()
    assert fetcher.fetch(stage.fill(attack.reference)) == IMAGE
    assert not any(request.holds(LEGACY_KEY) for request in stage.stranger.seen)
    fetcher.close()


@pytest.mark.parametrize(
    "reference",
    [
        pytest.param("/data/upload/1/ab12-page.png", id="upload"),
        pytest.param("/data/upload/1/ab12-Seite 1 ä.png", id="upload with a space and an umlaut"),
        pytest.param("/data/upload/1/100%25..png", id="upload with a percent sign and two dots"),
        pytest.param("http://127.0.0.1:{studio}/data/upload/1/page.png", id="upload as address"),
        pytest.param("HTTP://127.0.0.1.:{studio}/data/upload/1/page.png#top", id="address in another spelling"),
        pytest.param("/data/local-files/?d=scans/a%20b/page.png", id="local file"),
        pytest.param("/data/local-files/?d=dataset1%5Ca.png", id="local file of Windows"),
        pytest.param("/data/local-files/?d=dataset1\\2026\\a.png", id="local file of Windows, not encoded"),
        pytest.param("http://127.0.0.1:{studio}/data/local-files/?d=dataset1%5Ca.png", id="the same as address"),
        pytest.param("/data/local-files/?d=C%3A%5Cscans%5Ca.png", id="local file of Windows, whole path"),
        pytest.param("/data/local-files/?d=scans//2026/a.png", id="local file, an empty folder"),
        pytest.param("/data/local-files/?d=scans/inv%20%231%3F.png", id="local file with a hash"),
        pytest.param("/data/upload/1/Gro\u0308\u00dfe.png", id="upload, letters of two characters"),
        pytest.param("/storage-data/uploaded/?filepath=upload/1/page.png", id="stored upload"),
        pytest.param("s3://bucket/bytes.png", id="cloud, bytes"),
        pytest.param("gs://bucket/bytes ä.png", id="cloud, other letters"),
        pytest.param("s3://bucket//dir/inv #1?.png", id="cloud, a key with a hash, empty folders"),
        pytest.param("s3://bucket/dir\\a.png", id="cloud, a key with a backslash"),
        pytest.param("/tasks/5/resolve/?fileuri=czM6Ly9idWNrZXQvYnl0ZXMucG5n", id="resolve path"),
        pytest.param("/projects/5/presign/?fileuri=czM6Ly9idWNrZXQvYnl0ZXMucG5n", id="presign path"),
        pytest.param("/data/upload/1/to?/data/upload/1/other.png", id="redirect within Label Studio"),
    ],
)
def test_label_studio_is_asked_with_the_key(reference: str, stage: Stage, make_fetcher: MakeFetcher) -> None:
    assert make_fetcher().fetch(stage.fill(reference), task_id=5) == IMAGE
    assert all(request.headers["Authorization"] == f"Token {LEGACY_KEY}" for request in stage.label_studio.seen)
    assert stage.label_studio.seen
    assert not stage.friend.seen


@pytest.mark.parametrize(
    ("reference", "target"),
    [
        pytest.param("/data/local-files/?d=a\\b c.png", "/data/local-files/?d=a%5Cb%20c.png", id="a backslash"),
        pytest.param("/data/local-files/?d=a%5Cb.png", "/data/local-files/?d=a%5Cb.png", id="encoded already"),
        pytest.param("/data/upload/1/o\u0308.png", "/data/upload/1/o%CC%88.png", id="a letter of two characters"),
        pytest.param("/data/upload/1/\u00f6.png", "/data/upload/1/%C3%B6.png", id="the same as one"),
    ],
)
def test_a_file_is_asked_for_as_it_is_called(
    reference: str, target: str, stage: Stage, make_fetcher: MakeFetcher
) -> None:
    make_fetcher().fetch(reference)
    assert [request.target for request in stage.label_studio.seen] == [target]


def test_an_object_is_asked_for_by_its_whole_address(stage: Stage, make_fetcher: MakeFetcher) -> None:
    reference = "s3://bucket//dir/inv #1?.png"
    make_fetcher().fetch(reference, task_id=5)
    (request,) = stage.label_studio.seen
    path, _, query = request.target.partition("?fileuri=")
    assert (path, base64.urlsafe_b64decode(unquote(query)).decode()) == ("/tasks/5/resolve/", reference)


def test_cloud_redirect_to_an_allowed_host_gets_no_key(stage: Stage, make_fetcher: MakeFetcher) -> None:
    assert make_fetcher().fetch("azure-blob://box/presigned.png", task_id=5) == IMAGE
    (request,) = stage.friend.seen
    assert request.target == f"/ok?X-Signature={SECRET}"
    assert request.headers["Host"] == stage.fill("friend.test:{friend}")
    assert not request.holds(LEGACY_KEY)
    assert "Authorization" not in request.headers


@pytest.mark.parametrize(
    ("host", "reference"),
    [
        pytest.param("friend.test:{friend}", "http://friend.test:{friend}/ok?a=b%2fc", id="exact"),
        pytest.param("Friend.Test.:{friend}", "http://FRIEND.test:{friend}/ok?a=b%2fc", id="case and final dot"),
        pytest.param("*.friend.test:{friend}", "http://a.friend.test:{friend}/ok?a=b%2fc", id="wildcard"),
        pytest.param("127.0.0.2:{friend}", "http://127.0.0.2:{friend}/ok?a=b%2fc", id="number"),
    ],
)
def test_allowed_host_is_asked_without_the_key(
    host: str, reference: str, stage: Stage, make_fetcher: MakeFetcher
) -> None:
    assert make_fetcher(hosts=(host,)).fetch(stage.fill(reference)) == IMAGE
    (request,) = stage.friend.seen
    assert request.target == "/ok?a=b%2Fc"
    assert request.headers["Accept-Encoding"] == "identity"
    assert not request.holds(LEGACY_KEY)


@pytest.mark.parametrize("reference", ["/data/upload/1/a.png", "/studio/data/upload/1/a.png"])
def test_prefix_of_label_studio_is_added_once(reference: str, stage: Stage, make_fetcher: MakeFetcher) -> None:
    assert make_fetcher(prefix="/studio/").fetch(reference) == IMAGE
    assert stage.label_studio.seen[0].target == "/studio/data/upload/1/a.png"


def test_personal_access_token_is_exchanged_once_and_again_after_401(stage: Stage, make_fetcher: MakeFetcher) -> None:
    fetcher = make_fetcher(PERSONAL_KEY)
    with ThreadPoolExecutor(8) as threads:
        bodies = list(threads.map(fetcher.fetch, ["/data/upload/1/a.png"] * 24))
    assert bodies == [IMAGE] * 24
    assert [request.method for request in stage.label_studio.seen].count("POST") == 1
    assert not any(request.holds(PERSONAL_KEY) for request in stage.label_studio.seen if request.method == "GET")
    stage.studio.access.clear()  # Label Studio was restarted with another secret
    assert fetcher.fetch("/data/upload/1/a.png") == IMAGE
    assert [request.method for request in stage.label_studio.seen].count("POST") == 2


def test_connections_are_kept_and_a_closed_one_is_opened_again(stage: Stage, make_fetcher: MakeFetcher) -> None:
    fetcher = make_fetcher()
    for name in ("a.png", "b.png", "hang-up", "c.png"):
        assert fetcher.fetch(f"/data/upload/1/{name}") == IMAGE
    first, second, third, fourth = (request.client_port for request in stage.label_studio.seen)
    assert first == second == third != fourth


@pytest.mark.parametrize(
    ("reference", "key", "says"),
    [
        pytest.param("/data/upload/1/missing", LEGACY_KEY, "404 for http://.*/data/upload/1/missing", id="404"),
        pytest.param("/data/local-files/missing?d=a/b.png", LEGACY_KEY, "is not fetched", id="no such path"),
        pytest.param("/data/local-files/?d=a.png&sig={secret}", "", "401 .*d=a.png: set LABEL_STUDIO_API", id="no key"),
        pytest.param("/data/upload/1/to?/user/login/?next=/x", LEGACY_KEY, "set LABEL_STUDIO_API_KEY", id="login"),
        pytest.param("http://friend.test:{friend}/missing?sig={secret}", LEGACY_KEY, "answered 404", id="404 there"),
        pytest.param("http://friend.test:{friend}/short?sig={secret}", LEGACY_KEY, "broke off", id="half a body"),
        pytest.param("http://gone.test/a?sig={secret}", LEGACY_KEY, "LAYOUTLOOP_IMAGE_HOSTS", id="host not allowed"),
        pytest.param("http://localhost:8080/data/upload/1/a.png", LEGACY_KEY, "LABEL_STUDIO_URL is", id="other name"),
        pytest.param("s3://bucket/bytes.png", LEGACY_KEY, "no task id", id="cloud without a task"),
        pytest.param("file:///etc/passwd", LEGACY_KEY, "LAYOUTLOOP_IMAGE_HOSTS.*LAYOUTLOOP_IMAGE_NETWORKS", id="file"),
        pytest.param("", LEGACY_KEY, "not fetched", id="empty"),
    ],
)  # fmt: skip
def test_message_says_what_to_do(reference: str, key: str, says: str, stage: Stage, make_fetcher: MakeFetcher) -> None:
    with pytest.raises((AddressRefused, ImageUnavailable), match=stage.fill(says)) as caught:
        make_fetcher(key).fetch(stage.fill(reference))
    assert not tells_a_secret(str(caught.value))


@pytest.mark.parametrize(
    ("reference", "error", "says"),
    [
        pytest.param(
            "http://127.0.0.2:9/a.png", ImageSourceUnreachable, "does not take connections", id="nobody listens"
        ),
        pytest.param("http://gone.test:9/a.png", ImageSourceUnreachable, "does not resolve", id="no such name"),
        pytest.param(
            "http://friend.test:{friend}/broken", ImageSourceUnreachable, "answered 502", id="an error of its own"
        ),
        pytest.param(
            "/data/upload/1/broken", ImageSourceUnreachable, "Label Studio answered 502", id="of Label Studio's own"
        ),
        pytest.param("http://friend.test:{friend}/short", ImageSourceUnreachable, "broke off", id="half a body"),
        pytest.param("http://friend.test:{friend}/busy", ImageSourceUnreachable, "answered 429", id="asked too often"),
        pytest.param("/data/upload/1/missing", ImageUnavailable, "answered 404", id="one image is gone"),
        pytest.param("http://127.0.0.1:9/a.png", AddressRefused, "not on the public internet", id="not allowed"),
    ],
)
def test_a_source_that_is_unreachable_is_told_from_an_image_that_is_gone(
    reference: str, error: type[LayoutLoopError], says: str, stage: Stage, make_fetcher: MakeFetcher
) -> None:
    hosts = ("127.0.0.1:9", "127.0.0.2:9", "gone.test:9", "friend.test:{friend}")
    with pytest.raises(error, match=says) as caught:
        make_fetcher(hosts=hosts).fetch(stage.fill(reference))
    assert type(caught.value) is error


def test_a_key_that_cannot_be_exchanged_is_not_the_images_fault() -> None:
    url = "http://127.0.0.2:9"
    key = LabelStudioKey(url, PERSONAL_KEY)
    fetcher = ImageFetcher(url, key)
    with pytest.raises(ImageSourceUnreachable):
        fetcher.fetch("/data/upload/1/a.png")
    fetcher.close()
    key.close()


def test_drips_end_at_the_deadline_and_leave_nothing_open(stage: Stage, make_fetcher: MakeFetcher) -> None:
    fetcher = make_fetcher()
    began = time.monotonic()
    with pytest.raises(ImageSourceUnreachable, match="in time"):
        fetcher.fetch("/data/upload/1/drip")
    assert 4.5 < time.monotonic() - began < 7
    del fetcher
    gc.collect()  # an unclosed socket would warn here, and warnings are errors


@pytest.mark.parametrize(
    ("uri", "data"),
    [
        pytest.param("data:image/png;base64," + base64.b64encode(IMAGE).decode(), IMAGE, id="base64"),
        pytest.param("DATA:image/jpeg;name=a.jpg;base64,QUI\n=", b"AB", id="parameters, line break"),
        pytest.param("data:image/png;base64,QQ%3D%3D", b"A", id="base64 with its padding percent-encoded"),
        pytest.param("data:image/png;base64,QQ", b"A", id="base64 without padding"),
        pytest.param("data:application/octet-stream,%00A%ff", b"\x00A\xff", id="percent-encoded"),
    ],
)
def test_data_uri(uri: str, data: bytes) -> None:
    assert decode_data_uri(uri, len(data)) == data


@pytest.mark.parametrize(
    ("uri", "error"),
    [
        pytest.param("data:image/png;base64,QUJD", ImageTooLarge, id="one byte too many, base64"),
        pytest.param("data:image/png,ABC", ImageTooLarge, id="one byte too many, plain"),
        pytest.param("data:image/png,\ud800", ImageUnavailable, id="half a character"),
        pytest.param("data:image/png;base64,Q!", ImageUnavailable, id="no base64"),
        pytest.param("data:image/png;base64", ImageUnavailable, id="no comma"),
        pytest.param("data:,AB", ImageUnreadable, id="text"),
    ],
)
def test_bad_data_uri(uri: str, error: type[LayoutLoopError]) -> None:
    with pytest.raises(error) as caught:
        decode_data_uri(uri, 2)
    assert type(caught.value) is error


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://127.0.0.1", "http://admin:pass@127.0.0.1", "http://a b"])
def test_bad_label_studio_url_fails_at_start(url: str) -> None:
    with pytest.raises(SettingsInvalid, match="LABEL_STUDIO_URL"):
        ImageFetcher(url, LabelStudioKey("", ""))
