from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from layoutloop.errors import DeadlineExceeded, ModelNotReady, PageRejected, TorchServeUnavailable
from layoutloop.settings.serving import Settings
from layoutloop.torchserve.fifo_semaphore import FifoSemaphore
from layoutloop.torchserve.inference import InferenceClient, PageRequest, inference_client, own_client
from layoutloop.torchserve.nodes import AVOID_S, REFUSAL_S, RESOLVE_AFTER_FAILURE_S, Nodes, Refusals, addresses_of
from layoutloop.torchserve.tokens import TokenFile
from tests.far_servers import _Server, serve
from tests.layoutloop.torchserve.test_inference import (
    CLOSE,
    HANG,
    INVALID_KEY,
    NO_WORKER,
    OK,
    QUEUE_FULL,
    VERSION,
    WORKER_DIED,
    FakeTorchServe,
    Reply,
    Seen,
    start,
)

BAD_REQUEST = {"code": 400, "type": "BadRequestException", "message": "odd"}
A, B, C, D = (f"http://10.0.0.{number}:7080" for number in (1, 2, 3, 4))
PATH = "/predictions/ocr/1"


@pytest.mark.parametrize(
    ("urls", "addresses"),
    [
        pytest.param(["http://127.0.0.2:7080"], ["http://127.0.0.2:7080"], id="an address"),
        pytest.param(["http://localhost:7080/"], ["http://127.0.0.1:7080"], id="a name, IPv4 first"),
        pytest.param(["http://[::1]:7080"], ["http://[::1]:7080"], id="IPv6"),
        pytest.param([B, A, B], [A, B], id="several, once each, in order"),
        pytest.param(["http://nobody.invalid:7080"], [], id="a name that nobody has"),
        pytest.param(["http://nobody.invalid:7080", A], [A], id="one of two"),
        pytest.param(["http://a..b:7080", f"http://{'a' * 64}:7080", A], [A], id="names that there cannot be"),
    ],
)
def test_addresses(urls: list[str], addresses: list[str]) -> None:
    assert addresses_of(urls) == addresses


def test_who_has_least_to_do_is_asked_and_then_whose_turn_it_is() -> None:
    nodes = Nodes([A, B, C])
    taken = [nodes.take(PATH) for _ in range(6)]
    assert sorted(taken[:3]) == sorted(taken[3:]) == [A, B, C]
    nodes.hand_back(B, PATH)
    assert nodes.take(PATH) == B
    for url in (A, B, C, A, B, C):
        nodes.hand_back(url, PATH)
    assert [nodes.take(PATH) for _ in range(2)] == [A, C], "round robin: B was asked last"


def test_requests_of_another_model_count_less() -> None:
    nodes = Nodes([A, B])
    first, other = nodes.take(PATH), nodes.take("/predictions/project-7/1")
    assert first != other
    assert nodes.take(PATH) == other


def test_a_node_that_failed_is_asked_last_and_not_never() -> None:
    nodes = Nodes([A, B])
    nodes.take(PATH)
    nodes.failed(A)
    assert nodes.count() == 1
    assert {nodes.take(PATH) for _ in range(4)} == {B}
    assert nodes.take(PATH, {B}) == A
    nodes.succeeded(A, PATH)
    assert nodes.count() == 2
    assert nodes.take(PATH) == A


def test_a_node_that_lacks_one_model_is_asked_for_others() -> None:
    nodes = Nodes([A, B])
    nodes.take(PATH)
    nodes.failed(A, PATH)
    assert {nodes.take(PATH) for _ in range(4)} == {B}
    assert nodes.take("/predictions/project-7/1") == A
    assert nodes.count() == 2


def test_nodes_come_and_go_as_dns_says() -> None:
    known = [[A, B], [B, C], []]
    nodes = Nodes(["http://nodes:7080"], lambda _: known[0])
    assert {nodes.take(PATH) for _ in range(2)} == {A, B}
    known.pop(0)
    nodes.failed(A)  # which makes it look again soon
    time.sleep(RESOLVE_AFTER_FAILURE_S + 0.1)
    assert {nodes.take(PATH) for _ in range(3)} == {B, C}
    nodes.hand_back(A, PATH)
    known.pop(0)
    nodes.failed(C)
    time.sleep(RESOLVE_AFTER_FAILURE_S + 0.1)
    assert nodes.take(PATH) == B, "a DNS that does not answer takes no node away"


def test_a_name_without_an_answer_keeps_its_nodes_while_others_change() -> None:
    known = {"http://one:7080": [A, B], "http://two:7080": [C]}
    nodes = Nodes(list(known), lambda urls: known[urls[0]])
    assert {nodes.take(PATH) for _ in range(3)} == {A, B, C}
    known["http://one:7080"] = []
    known["http://two:7080"] = [D]
    nodes.failed(C)
    time.sleep(RESOLVE_AFTER_FAILURE_S + 0.1)
    assert {nodes.take(PATH) for _ in range(4)} == {A, B, D}


def test_a_slow_dns_holds_up_one_request_alone() -> None:
    answer, asked = threading.Event(), threading.Event()

    def resolve(_: Sequence[str]) -> list[str]:
        if asked.is_set():
            answer.wait(10)
        asked.set()
        return [A]

    nodes = Nodes(["http://nodes:7080"], resolve)
    assert nodes.take(PATH) == A
    nodes.failed(A)
    time.sleep(RESOLVE_AFTER_FAILURE_S + 0.1)
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(nodes.take, PATH)
        while not slow.running():
            time.sleep(0.01)
        time.sleep(0.1)
        assert threads.submit(nodes.take, PATH).result(5) == A
        assert not slow.done()
        assert slow.result(3) == A, "not for long either"
        answer.set()


def test_a_dns_that_does_not_answer_is_not_waited_for_longer_than_a_request_has() -> None:
    answer = threading.Event()

    def resolve(_: Sequence[str]) -> list[str]:
        answer.wait(30)
        return [A]

    nodes = Nodes(["http://nodes:7080"], resolve)
    client = InferenceClient("http://nodes:7080", None)
    client._nodes = nodes
    began = time.monotonic()
    assert (nodes.count(), time.monotonic() - began < 0.5) == (1, True), "who only counts does not wait at all"

    def ask(_: int) -> None:
        with pytest.raises(DeadlineExceeded, match="last: http://nodes:7080: no address is known"):
            client.predict(PageRequest("ocr", VERSION, b"", "image/png"), time.monotonic() + 1.5)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, range(4)))
    assert time.monotonic() - began < 6
    answer.set()
    assert nodes.take(PATH) == A


def test_places_of_a_gate_become_more_and_fewer() -> None:
    gate = FifoSemaphore(1)
    assert gate.acquire(0)
    assert not gate.acquire(0)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(gate.acquire, 5)
        time.sleep(0.05)
        gate.resize(2)
        assert waiting.result(5)
    gate.resize(1)
    gate.release()
    assert not gate.acquire(0), "two were inside, and one place is left"
    gate.release()
    assert gate.acquire(0)


def test_large_ones_take_more_places_in_the_order_they_came() -> None:
    gate = FifoSemaphore(100)
    assert gate.acquire(0, 60)
    assert not gate.acquire(0, 60)
    assert gate.acquire(0, 40)
    gate.release(40)
    with ThreadPoolExecutor(2) as threads:
        larger = threads.submit(gate.acquire, 5, 500)
        time.sleep(0.05)
        small = threads.submit(gate.acquire, 0.2, 1)
        assert not small.result(5), "one that came later overtakes none"
        gate.release(60)
        assert larger.result(5), "more than there are: alone"
        assert not gate.acquire(0, 1)
        gate.release(500)
        assert gate.acquire(0, 100)


class Pair:
    """Two fakes with the same models, and a client of both."""

    def __init__(self, fakes: list[tuple[FakeTorchServe, _Server]]) -> None:
        (self.first, _), (self.second, _) = fakes
        self.urls = [f"http://127.0.0.1:{server.port}" for _, server in fakes]
        for fake, _ in fakes:
            fake.key = ""
            fake.models["ocr", VERSION] = lambda _: (200, OK)
        self.client = InferenceClient(",".join(self.urls).split(","), None, read_timeout_s=0.5)

    def ask(self, seconds: float = 5.0, in_flight: int = 4) -> object:
        deadline = time.monotonic() + seconds
        return self.client.predict(PageRequest("ocr", VERSION, b"image", "image/png", in_flight=in_flight), deadline)

    @property
    def counts(self) -> list[int]:
        return [self.first.count("ocr"), self.second.count("ocr")]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair([stack.enter_context(start(tmp_path / name / "key_file.json")) for name in "ab"])


def test_load_is_spread_and_no_key_is_sent(pair: Pair) -> None:
    for _ in range(10):
        assert pair.ask() == OK
    assert pair.counts == [5, 5]
    assert all("Authorization" not in seen.headers for seen in (*pair.first.seen, *pair.second.seen))


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(CLOSE, id="cut"),
        pytest.param(HANG, id="timed out"),
        pytest.param((503, QUEUE_FULL), id="full"),
        pytest.param((503, NO_WORKER), id="no worker"),
        pytest.param((500, WORKER_DIED), id="worker died"),
        pytest.param((404, {"code": 404, "type": "ModelNotFoundException", "message": "m"}), id="does not hold it"),
        pytest.param((400, INVALID_KEY), id="wants a key"),
        pytest.param((400, BAD_REQUEST), id="understands nothing"),
        pytest.param((401, b""), id="knows nobody"),
        pytest.param((403, b"<html>"), id="lets nobody in"),
        pytest.param((405, b"<html>"), id="is no TorchServe"),
        pytest.param((502, b"<html>"), id="stands before one that is away"),
        pytest.param((200, b"<html>"), id="says nothing that we read"),
    ],
)
def test_what_one_node_cannot_the_other_is_asked(pair: Pair, failure: Reply) -> None:
    pair.first.script.extend([failure] * 20)
    assert [pair.ask() for _ in range(6)] == [OK] * 6
    assert pair.counts == [1, 6], "the one that failed is asked once in a while"


def test_a_node_that_is_gone_is_not_noticed_and_is_asked_again_when_it_is_back(pair: Pair, tmp_path: Path) -> None:
    pair.first.script.extend([CLOSE])
    assert [pair.ask() for _ in range(3)] == [OK] * 3
    assert pair.client.node_count() == 1
    time.sleep(5.1)
    assert [pair.ask() for _ in range(4)] == [OK] * 4
    assert pair.counts[0] > 1
    assert pair.client.node_count() == 2


def test_what_no_node_holds_is_not_ready(pair: Pair) -> None:
    del pair.first.models["ocr", VERSION], pair.second.models["ocr", VERSION]
    with pytest.raises(ModelNotReady):
        pair.ask()
    assert pair.counts == [1, 1]


def test_a_node_that_may_hold_it_is_waited_for(pair: Pair) -> None:
    """One node lacks the version and the other did not answer: it may be the one that holds it."""
    del pair.first.models["ocr", VERSION]
    pair.second.script.extend([CLOSE, CLOSE])
    assert pair.ask() == OK


def test_a_wrong_node_is_not_counted_and_is_asked_again(pair: Pair) -> None:
    pair.first.script.append((400, BAD_REQUEST))
    assert [pair.ask() for _ in range(3)] == [OK] * 3
    assert pair.client.node_count() == 1
    time.sleep(AVOID_S + 0.1)
    assert [pair.ask() for _ in range(4)] == [OK] * 4
    assert pair.client.node_count() == 2


@pytest.mark.parametrize(
    ("others", "answer"),
    [
        pytest.param([(404, BAD_REQUEST)], ModelNotReady, id="the other does not hold it"),
        pytest.param([CLOSE, CLOSE], OK, id="the other did not answer, and may hold it"),
        pytest.param([(422, {"error": {"code": "no_page", "message": "m"}})], PageRejected, id="the other refuses it"),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["asked first", "asked second"])
def test_a_wrong_node_decides_nothing(pair: Pair, others: list[Reply], answer: object, first: bool) -> None:
    by_turn = [fake for _, fake in sorted(zip(pair.urls, (pair.first, pair.second), strict=True))]
    wrong, other = by_turn if first else by_turn[::-1]
    wrong.script.extend([(403, b"")] * 20)
    other.script.extend(others)
    if isinstance(answer, type):
        with pytest.raises(answer):
            pair.ask()
    else:
        assert pair.ask() == answer


def test_a_node_sends_pages_nowhere_else(pair: Pair) -> None:
    with serve("127.0.0.1", lambda asked: asked.reply(307, Location=f"{pair.urls[1]}{asked.path}")) as wrong:
        client = InferenceClient(f"http://127.0.0.1:{wrong.port}", None)
        with pytest.raises(TorchServeUnavailable, match="answered 307"):
            client.predict(PageRequest("ocr", VERSION, b"page", "image/png"), time.monotonic() + 5)
    assert pair.counts == [0, 0]


def test_a_page_that_is_refused_is_not_asked_of_everybody(pair: Pair) -> None:
    refused = (422, {"error": {"code": "image_unreadable", "message": "no image"}})
    pair.first.script.append(refused)
    pair.second.script.append(refused)
    with pytest.raises(PageRejected):
        pair.ask()
    assert sum(pair.counts) == 1


def test_a_page_that_kills_workers_kills_three_at_most(pair: Pair) -> None:
    for fake in (pair.first, pair.second):
        fake.script.extend([(500, WORKER_DIED)] * 10)
    with pytest.raises(TorchServeUnavailable, match="3 times on this page"):
        pair.ask(10.0)
    assert sum(pair.counts) == 3


def test_places_grow_with_the_nodes(pair: Pair) -> None:
    def slowly(_: Seen) -> Reply:
        time.sleep(0.1)
        return 200, OK

    for fake in (pair.first, pair.second):
        fake.models["ocr", VERSION] = slowly
    with ThreadPoolExecutor(12) as threads:
        assert [one.result() for one in [threads.submit(pair.ask, 10.0, 2) for _ in range(24)]] == [OK] * 24
    assert [fake.busiest["ocr"] for fake in (pair.first, pair.second)] == [2, 2]


def test_a_name_without_an_address_is_said() -> None:
    client = InferenceClient("http://nobody.invalid:7080", None)
    with pytest.raises(DeadlineExceeded, match=r"nobody\.invalid:7080: no address is known"):
        client.predict(PageRequest("ocr", VERSION, b"", "image/png"), time.monotonic() + 1)


def test_a_torchserve_that_wants_a_key_is_told_what_to_set(pair: Pair) -> None:
    pair.first.key = pair.second.key = "wanted"
    pair.first.script.append((400, INVALID_KEY))
    pair.second.script.append((400, INVALID_KEY))
    with pytest.raises(TorchServeUnavailable, match="set LAYOUTLOOP_TORCHSERVE_HOST"):
        pair.ask()


def test_a_refusal_is_known_until_the_node_answers(pair: Pair) -> None:
    pair.first.key = "wanted"
    assert [pair.ask() for _ in range(2)] == [OK, OK]
    (refusal,) = pair.client.refusals().sentences
    assert not pair.client.refusals().of_all
    assert refusal.startswith(f"{pair.urls[0]}/predictions/ocr/{VERSION} wants a key, and there is none: ")
    assert "wanted" not in refusal
    pair.first.key = ""
    pair.first.models.clear()  # any other answer, also one that it does not hold the version
    time.sleep(AVOID_S + 0.1)
    assert [pair.ask() for _ in range(2)] == [OK, OK]
    assert pair.client.refusals() == Refusals()


def test_a_node_that_left_refuses_nothing() -> None:
    known = [A, B]
    nodes = Nodes(["http://nodes:7080"], lambda _: list(known))
    nodes.take(PATH)
    for url in (B, A):
        nodes.note_refusal(url, f"{url} wants a key")
    assert nodes.refusals() == Refusals((f"{A} wants a key", f"{B} wants a key"), of_all=True)
    known.remove(A)
    nodes.failed(A)
    time.sleep(RESOLVE_AFTER_FAILURE_S + 0.1)
    nodes.take(PATH)
    assert nodes.refusals() == Refusals((f"{B} wants a key",), of_all=True)


def test_an_old_refusal_is_told_no_more() -> None:
    nodes = Nodes(["http://nodes:7080"], lambda _: [A, B])
    assert nodes.refusals() == Refusals()
    nodes.take(PATH)
    for url in (A, B):
        nodes.note_refusal(url, f"{url} wants a key")
    nodes._nodes[A].refused_at -= REFUSAL_S
    assert nodes.refusals() == Refusals((f"{B} wants a key",), of_all=False)


def test_a_key_never_leaves_for_another_machine(pair: Pair, tmp_path: Path) -> None:
    """The key file of this machine's TorchServe lies there, and the address says that another one is asked."""
    own = pair.second
    own.key_file = tmp_path / "torchserve" / "key_file.json"
    own.new_keys("own-key")
    port = int(pair.urls[1].rpartition(":")[2])
    settings = Settings(home=tmp_path, torchserve_port=port, torchserve_url=pair.urls[0])
    for client in (inference_client(settings), own_client(settings)):
        client.predict(PageRequest("ocr", VERSION, b"", "image/png"), time.monotonic() + 5)
    assert ["Authorization" in seen.headers for seen in (*pair.first.seen, *own.seen)] == [False, True]
    assert TokenFile(own.key_file).header("inference") == {"Authorization": "Bearer own-key"}
