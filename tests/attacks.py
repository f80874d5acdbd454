"""Image references that try to get something they should not: one table for the tests and for the benchmark."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass

from handler.errors import ImageTooLarge, ImageUnreadable
from layoutloop.errors import AddressRefused, ImageSourceUnreachable, ImageUnavailable, LayoutLoopError
from layoutloop.studio.api_key import LabelStudioKey
from layoutloop.studio.image_fetcher import ImageFetcher, ImageRules
from tests.far_servers import LEGACY_KEY, SECRET, Names, Stage

TIMEOUT_S = 1.0
MAX_BYTES = 64 * 1024
FRIEND = ("friend.test:{friend}",)
UPLOAD = "/data/upload/1/"


@dataclass(frozen=True)
class Attack:
    """One row.

    Args:
        name: what is tried.
        reference: what stands in the task, with {studio}, {friend} and {stranger} for their ports.
        error: how it must end.
        hosts: LAYOUTLOOP_IMAGE_HOSTS; generous where the address is what must be refused.
        prefix: path prefix of LABEL_STUDIO_URL.
    """

    name: str
    reference: str
    error: type[LayoutLoopError] = AddressRefused
    hosts: tuple[str, ...] = FRIEND
    prefix: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of an attack."""

    error: LayoutLoopError | None
    seconds: float
    key_elsewhere: bool
    stranger_asked: bool


KEY_THIEVES = (
    Attack("upload redirects to a host not allowed", UPLOAD + "to?http://127.0.0.1:{stranger}/ok"),
    Attack("cloud reference is presigned to a host not allowed", "s3://bucket/elsewhere.png"),
    Attack("upload redirects to Label Studio's API", UPLOAD + "to?/api/users/"),
    Attack("upload redirects to the login page", UPLOAD + "to?/user/login/"),
    Attack(
        "allowed host redirects into Label Studio",
        "http://friend.test:{friend}/to?http://127.0.0.1:{studio}" + UPLOAD + "ok",
    ),
    Attack("Label Studio as user name", "http://127.0.0.1:{studio}@127.0.0.1:{stranger}" + UPLOAD + "ok"),
    Attack("stranger as user name", "http://127.0.0.1:{stranger}@127.0.0.1:{studio}" + UPLOAD + "ok"),
    Attack("Label Studio as beginning of the host", "http://127.0.0.1.evil.test:{studio}" + UPLOAD + "ok"),
    Attack("host after the port", "http://127.0.0.1:{studio}.evil.test" + UPLOAD + "ok"),
    Attack("other port of Label Studio's host", "http://127.0.0.1:{stranger}" + UPLOAD + "ok"),
    Attack("other scheme of Label Studio's host", "https://127.0.0.1:{studio}" + UPLOAD + "ok"),
    Attack("address without scheme", "//127.0.0.1:{stranger}" + UPLOAD + "ok"),
    Attack("backslash before @", "http://127.0.0.1:{stranger}\\@127.0.0.1:{studio}" + UPLOAD + "ok"),
    Attack("hash before @", "http://127.0.0.1:{stranger}#@127.0.0.1:{studio}" + UPLOAD + "ok"),
    Attack("API path as image", "/api/users/"),
    Attack("API address as image", "http://127.0.0.1:{studio}/api/users/"),
    Attack("beside Label Studio's prefix", "http://127.0.0.1:{studio}" + UPLOAD + "ok", prefix="/studio"),
    Attack("prefix that only begins alike", "http://127.0.0.1:{studio}/studio2" + UPLOAD + "ok", prefix="/studio"),
)

WANDERERS = (
    Attack(".. in an upload", UPLOAD + "../../../api/users/"),
    Attack(".. in an upload, percent-encoded", UPLOAD + "%2e%2E/..%2f../api/users/"),
    Attack(".. in an upload, encoded twice", UPLOAD + "%252e%252e/x"),
    Attack(".. with a path parameter", UPLOAD + "..;x/api"),
    Attack(".. in local files", "/data/local-files/?d=../../etc/passwd"),
    Attack(".. in local files, percent-encoded", "/data/local-files/?d=a%2f%2e%2e%2f%2e%2e%2fetc/passwd"),
    Attack(".. in local files, encoded twice", "/data/local-files/?d=%252e%252e%252fetc%252fpasswd"),
    Attack(".. in the second of two paths", "/data/local-files/?d=a.png&d=../etc/passwd"),
    Attack(".. in stored uploads", "/storage-data/uploaded/?filepath=upload/../../secret"),
    Attack("backslash in local files", "/data/local-files/?d=..\\..\\secret"),
    Attack("backslash in local files, percent-encoded", "/data/local-files/?d=..%5c..%5csecret"),
    Attack(".. in a path of Windows", "/data/local-files/?d=dir\\..\\..\\secret"),
    Attack(".. in a path of Windows, percent-encoded", "/data/local-files/?d=dir%5C..%5C..%5Csecret"),
    Attack(".. in a path of Windows, encoded twice", "/data/local-files/?d=dir%255C%252e%252e%255Csecret"),
    Attack(".. at the end of a path of Windows", "/data/local-files/?d=dir%5C.."),
    Attack(".. between both kinds of slash", "/data/local-files/?d=dir/..%5Csecret"),
    Attack(".. of Windows in the second of two paths", "/data/local-files/?d=a.png&d=..%5Csecret"),
    Attack("a host of Windows as path (UNC)", "/data/local-files/?d=%5C%5Cevil.test%5Cshare%5Ca.png"),
    Attack("a host of Windows, not encoded", "/data/local-files/?d=\\\\evil.test\\share\\a.png"),
    Attack("a host of Windows, of both kinds of slash", "/data/local-files/?d=/%5Cevil.test/share/a.png"),
    Attack("a host of Windows, encoded twice", "/data/local-files/?d=%255C%255Cevil.test%255Cshare"),
    Attack("a host as path", "/data/local-files/?d=//evil.test/share/a.png"),
    Attack("backslash in an upload", UPLOAD + "dir\\a.png"),
    Attack("backslash in an upload, percent-encoded", UPLOAD + "dir%5Ca.png"),
    Attack("backslash in stored uploads", "/storage-data/uploaded/?filepath=upload%5C1%5Ca.png"),
    Attack("a local file's path on another path", UPLOAD + "a.png?d=dir%5Ca.png"),
    Attack("empty folder in stored uploads", "/storage-data/uploaded/?filepath=upload//1/a.png"),
    Attack("line break in a path of Windows", "/data/local-files/?d=dir%5Ca%0d%0aX-Evil:%201"),
    Attack("line break in an object's key", "s3://bucket/a\r\nX-Evil: 1"),
    Attack("empty folder in an upload", "/data/upload//etc/passwd"),
    Attack("encoded over and over", UPLOAD + "%" + "25" * 20 + "2e"),
    Attack("line break in the reference", UPLOAD + "ok HTTP/1.1\r\nHost: evil.test\r\n\r\n"),
    Attack("line break, percent-encoded", UPLOAD + "ok%0d%0aX-Evil:%201"),
    Attack("NUL, percent-encoded", "/data/local-files/?d=a.png%00.txt"),
    Attack("line break in a host", "http://friend.test:{friend}\r\n.evil.test/ok"),
)


def _numbers(*spellings: str) -> tuple[Attack, ...]:
    """The stranger by another spelling of 127.0.0.1, on the list of allowed hosts so that the address decides."""
    return tuple(
        Attack(f"loopback written {text}", f"http://{text}:{{stranger}}/ok", hosts=(text + ":{stranger}",))
        for text in spellings
    )


ADDRESSES = (
    Attack("allowed host redirects to a private address", "http://friend.test:{friend}/to?http://10.0.0.5/"),
    Attack("allowed host redirects to cloud metadata", "http://friend.test:{friend}/to?http://169.254.169.254/latest"),
    Attack(
        "the same, with metadata's host allowed",
        "http://friend.test:{friend}/to?http://169.254.169.254/latest",
        hosts=(*FRIEND, "169.254.169.254"),
    ),
    Attack("allowed host redirects to loopback", "http://friend.test:{friend}/to?http://127.0.0.1:{stranger}/ok"),
    Attack("allowed name resolves to loopback", "http://inside.test:{stranger}/ok", hosts=("inside.test:{stranger}",)),
    Attack("allowed name resolves to 10.0.0.5", "http://private.test/ok", hosts=("private.test",)),
    Attack("allowed name resolves to shared space 100.64/10", "http://cgnat.test/ok", hosts=("*.test",)),
    Attack("allowed name resolves to NAT64 of loopback", "http://nat64.test/ok", hosts=("nat64.test",)),
    Attack("allowed name resolves to 6to4 of 10.0.0.5", "http://6to4.test/ok", hosts=("6to4.test",)),
    Attack("allowed name resolves to link-local IPv6", "http://fe80.test/ok", hosts=("fe80.test",)),
    Attack(
        "name changes its address after the first answer (rebinding)",
        "http://rebind.test:{friend}/to?http://rebind.test:{stranger}/ok",
        hosts=("rebind.test:{friend}", "rebind.test:{stranger}"),
    ),
    *_numbers("127.0.0.1", "2130706433", "0177.0.0.1", "0x7f000001", "127.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"),  # noqa: S104 - asked, not bound
    *_numbers("0x7f.1", "0x7F.0x0.0x0.0x1", "127.0.1", "017700000001", "0177.1", "0x7f.0.1", "127.0.0.1."),
    *_numbers("[::]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]"),
    *_numbers("[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[fd00:ec2::254]", "[ff02::1]"),
    Attack("IPv6 with a zone", "http://[fe80::1%25lo]:{stranger}/ok", hosts=("*.test",)),
    Attack("IPv6 in brackets that is none", "http://[127.0.0.1]:{stranger}/ok", hosts=("127.0.0.1:{stranger}",)),
    Attack("text behind IPv6", "http://[::1].friend.test:{friend}/ok", hosts=("*.friend.test:{friend}",)),
    Attack("ideographic full stops", "http://127\u30020\u30020\u30021:{stranger}/ok", hosts=("127.0.0.1:{stranger}",)),
    Attack("circled digits", "http://\u2460\u2461\u2466.0.0.1:{stranger}/ok", hosts=("127.0.0.1:{stranger}",)),
    Attack("allowed host, another port", "http://friend.test:{stranger}/ok"),
    Attack("allowed host, no port", "http://friend.test/ok"),
    Attack("allowed host, an empty port", "http://friend.test:/ok"),
    Attack("port 0", "http://friend.test:0/ok"),
    Attack("port 65536", "http://friend.test:65536/ok"),
    Attack("a negative port", "http://friend.test:-{friend}/ok"),
    Attack("two ports", "http://friend.test:{friend}:{stranger}/ok"),
    Attack("a port of other digits", "http://friend.test:\uff18\uff10/ok", hosts=("friend.test:80",)),
    Attack("a port with a sign", "http://friend.test:+{friend}/ok"),
    Attack(
        "allowed name resolves to many addresses, all forbidden",
        "http://many.test:{stranger}/ok",
        hosts=("*.test:{stranger}",),
    ),
    Attack("allowed name resolves to text", "http://text.test:{stranger}/ok", hosts=("*.test:{stranger}",)),
    Attack("allowed name resolves to no address", "http://none.test:{stranger}/ok", hosts=("*.test:{stranger}",)),
    Attack(
        "allowed name resolves to many addresses, the one that may be asked does not answer",
        "http://mixed.test:{stranger}/ok",
        ImageSourceUnreachable,
        hosts=("*.test:{stranger}",),
    ),
    Attack("full-width digits", "http://\uff11\uff12\uff17.0.0.1:{stranger}/ok"),
    Attack(
        "wildcard does not cover other ends",
        "http://evilfriend.test:{stranger}/ok",
        hosts=("*.friend.test:{stranger}",),
    ),
)

SCHEMES = (
    Attack("file://", "file:///etc/passwd"),
    Attack("ftp://", "ftp://127.0.0.1:{stranger}/ok"),
    Attack("gopher://", "gopher://127.0.0.1:{stranger}/_GET"),
    Attack("plain path", "etc/passwd"),
    Attack("path on this machine", "/etc/passwd"),
    Attack("redirect to file://", "http://friend.test:{friend}/to?file:///etc/passwd"),
    Attack("redirect to data:", "http://friend.test:{friend}/to?data:image/png;base64,AAAA"),
    Attack("redirect of Label Studio to data:", UPLOAD + "to?data:image/png;base64,AAAA"),
    Attack("redirect to DATA: in capitals", "http://friend.test:{friend}/to?DATA:image/png,AAAA"),
    Attack("redirect to an object", "http://friend.test:{friend}/to?s3://bucket/elsewhere.png"),
    Attack("redirect to javascript:", "http://friend.test:{friend}/to?javascript:alert(1)"),
    Attack("redirect without a scheme", "http://friend.test:{friend}/to?//127.0.0.1:{stranger}/ok"),
    Attack("redirect with backslashes for slashes", "http://friend.test:{friend}/to?http:\\\\127.0.0.1:{stranger}\\ok"),
    Attack("redirect with a user name", "http://friend.test:{friend}/to?http://friend.test@127.0.0.1:{stranger}/ok"),
    Attack("redirect to another port", "http://friend.test:{friend}/to?http://friend.test:{stranger}/ok"),
    Attack("redirect to IPv6 of loopback", "http://friend.test:{friend}/to?http://[::ffff:127.0.0.1]:{stranger}/ok"),
    Attack("redirect of Label Studio to a host of Windows", UPLOAD + "to?/data/local-files/%3Fd=%5C%5Cevil.test%5Ca"),
    Attack("data: that is a page", "data:text/html,<script>", ImageUnreadable),
)

FLOODS = (
    Attack("Content-Length of 2 GB", "http://friend.test:{friend}/huge", ImageTooLarge),
    Attack("Content-Length of 2 GB from Label Studio", UPLOAD + "huge", ImageTooLarge),
    Attack("chunked body without end", "http://friend.test:{friend}/endless", ImageTooLarge),
    Attack("body in slow drips", "http://friend.test:{friend}/drip", ImageSourceUnreachable),
    Attack("header in slow drips", "http://friend.test:{friend}/drip-header", ImageSourceUnreachable),
    Attack("chunk size in slow drips", UPLOAD + "drip-size", ImageSourceUnreachable),
    Attack("gzip bomb", "http://friend.test:{friend}/gzip", ImageUnavailable),
    Attack("redirect loop", "http://friend.test:{friend}/loop?X-Signature={secret}", ImageUnavailable),
    Attack(
        "data: bomb, base64", "data:image/png;base64," + base64.b64encode(bytes(MAX_BYTES + 3)).decode(), ImageTooLarge
    ),
    Attack("data: bomb, percent-encoded", "data:image/png," + "%00" * (MAX_BYTES + 1), ImageTooLarge),
    Attack("reference of 1 MB", UPLOAD + "a" * 1_000_000),
)

ATTACKS = (*KEY_THIEVES, *WANDERERS, *ADDRESSES, *SCHEMES, *FLOODS)


def names() -> Names:
    """The names of the scene; only `friend.test` leads to someone who may be asked."""
    return Names(
        {
            "friend.test": [["127.0.0.2"]],
            "a.friend.test": [["127.0.0.2"]],
            "evilfriend.test": [["127.0.0.2"]],
            "rebind.test": [["127.0.0.2"], ["127.0.0.1"]],
            "inside.test": [["127.0.0.1"]],
            "private.test": [["10.0.0.5"]],
            "cgnat.test": [["100.64.0.1"]],
            "nat64.test": [["64:ff9b::7f00:1"]],
            "6to4.test": [["2002:a00:5::1"]],
            "fe80.test": [["fe80::1%1"]],
            "many.test": [[f"127.1.{index // 250}.{index % 250 + 1}" for index in range(1000)]],
            "mixed.test": [["127.0.0.1"] * 50 + ["127.0.0.2"] + ["10.0.0.5", "::1"] * 50],
            "text.test": [["localhost", "127.0.0.2 ", "0x7f.1"]],
            "none.test": [[]],
        }
    )


def try_attack(attack: Attack, stage: Stage) -> Outcome:
    """Fetch with the key set and the friend's network allowed, and see who was told what."""
    stage.forget_requests()
    studio_url = stage.fill("http://127.0.0.1:{studio}") + attack.prefix
    key = LabelStudioKey(studio_url, LEGACY_KEY)
    hosts = tuple(stage.fill(host) for host in attack.hosts)
    fetcher = ImageFetcher(studio_url, key, ImageRules(hosts, ("127.0.0.2/32",), MAX_BYTES, TIMEOUT_S, names()))
    error: LayoutLoopError | None = None
    began = time.monotonic()
    try:
        fetcher.fetch(stage.fill(attack.reference), task_id=5)
    except LayoutLoopError as raised:
        error = raised
    finally:
        fetcher.close()
        key.close()
    elsewhere = [*stage.friend.seen, *stage.stranger.seen]
    return Outcome(
        error=error,
        seconds=time.monotonic() - began,
        key_elsewhere=any(request.holds(LEGACY_KEY) for request in elsewhere),
        stranger_asked=bool(stage.stranger.seen),
    )


def tells_a_secret(message: str) -> bool:
    """Whether a message holds the key or a signature."""
    return LEGACY_KEY in message or SECRET in message
