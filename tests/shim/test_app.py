"""Every route as Label Studio and others call it; requests that were captured from a real Label Studio 1.23.2."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from layoutloop.processes.logs import set_up_logging
from layoutloop.store.writing import write_json
from shim.app import MAX_BODY_BYTES
from shim.health import NO_NODE
from tests.far_servers import LEGACY_KEY, Seen
from tests.layoutloop.torchserve.test_inference import HANG, Reply
from tests.shim.predict.test_predictor import (
    OCR_CARD,
    OCR_TEMPLATE,
    RECTANGLES,
    V1,
    V2,
    WAIT_S,
    Bench,
    data_uri,
    holds_null,
    image,
    ocr,
    open_bench,
)

CAPTURES = Path(__file__).resolve().parent.parent / "data" / "captures"
USER, PASSWORD = "label-studio", "öpen:sesame"
BASIC = {"Authorization": "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
ROUTES = [
    ("GET", "/"),
    ("GET", "/health"),
    ("POST", "/setup"),
    ("POST", "/predict"),
    ("POST", "/webhook"),
    ("POST", "/take"),
    ("POST", "/train"),
    ("GET", "/versions"),
    ("GET", "/jobs"),
    ("GET", "/jobs/0123456789ab"),
    ("GET", "/metrics"),
]

COLD_START = "a project not among `models` has none yet: with RectangleLabels no boxes, with the OCR template text"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with open_bench(tmp_path) as opened:
        yield opened


def assert_sentence(answer: TestResponse) -> None:
    """An error is JSON with a code and a sentence, never a traceback."""
    assert answer.is_json, answer.text
    error = answer.get_json()["error"]
    assert set(error) == {"code", "message"}
    assert len(error["message"]) > 15
    assert "Traceback" not in answer.text


def captures() -> list[Any]:
    return [pytest.param(json.loads(path.read_text()), id=path.stem) for path in sorted(CAPTURES.glob("*.json"))]


@pytest.mark.parametrize("with_auth", [False, True], ids=["open", "with Basic auth"])
@pytest.mark.parametrize("capture", captures())
def test_captured_requests(bench: Bench, capture: dict[str, Any], with_auth: bool) -> None:
    for project in range(1, 5):
        bench.serve_project(project)
    if with_auth:
        bench.make_app(basic_auth_user=USER, basic_auth_pass=PASSWORD)
    headers = {name: value for name, value in capture["headers"].items() if name != "Content-Length"}
    body = None if capture["method"] == "GET" else json.dumps(capture["body"]).encode()
    answer = bench.app.test_client().open(
        capture["path"],
        method=capture["method"],
        query_string=capture["query"],
        headers=headers | (BASIC if with_auth else {}),
        data=body,
    )
    assert 200 <= answer.status_code < 300, answer.text
    assert answer.is_json
    assert_shape(capture, answer.get_json())


def assert_shape(capture: dict[str, Any], answer: Any) -> None:
    """What Label Studio takes without complaint."""
    body = capture["body"]
    assert isinstance(answer, dict)
    match capture["path"]:
        case "/health":
            assert answer["status"] == "UP"
        case "/setup":
            assert answer["model_version"].startswith(V1)
        case "/versions":
            assert answer == {"versions": [V1]}
        case "/predict" if body["params"]["context"]:
            (entry,) = answer["results"]  # no word stands where that rectangle was drawn
            assert entry["result"][0]["value"] == body["params"]["context"]["result"][0]["value"]
        case "/predict":
            assert [set(entry) for entry in answer["results"]] == [{"model_version", "score", "result"}] * len(
                body["tasks"]
            )
            assert {entry["model_version"] for entry in answer["results"]} == {answer["model_version"]}
            assert all(entry["result"] for entry in answer["results"])
            assert not holds_null(answer)
        case "/webhook":
            assert answer.keys() in ({"status", "action"}, {"status", "job"})  # which of them: test_training_routes.py
        case path:
            pytest.fail(f"no shape is known for {path}")


def test_the_captures_are_there() -> None:
    assert len(captures()) >= 27


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"Authorization": "Basic"}, id="nothing behind Basic"),
        pytest.param({"Authorization": "Basic !!!"}, id="no base64"),
        pytest.param({"Authorization": "Basic " + base64.b64encode(b"label-studio").decode()}, id="no colon"),
        pytest.param(
            {"Authorization": "Basic " + base64.b64encode(b"label-studio:open").decode()}, id="wrong password"
        ),
        pytest.param({"Authorization": "Basic " + base64.b64encode(b"x:\xff\xfe").decode()}, id="no UTF-8"),
        pytest.param({"Authorization": BASIC["Authorization"].replace("Basic", "Bearer")}, id="Bearer"),
        pytest.param({"Authorization": f"Token {LEGACY_KEY}"}, id="Label Studio's key"),
    ],
)
@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda value: value)
def test_every_route_but_health_asks_for_basic_auth(
    bench: Bench, method: str, path: str, headers: dict[str, str]
) -> None:
    bench.make_app(basic_auth_user=USER, basic_auth_pass=PASSWORD)
    answer = bench.app.test_client().open(path, method=method, headers=headers)
    if path in ("/", "/health"):
        assert (answer.status_code, answer.get_json()) == (200, {"status": "UP", "v2": True, "ready": False})
        return
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="LayoutLoop"'
    assert_sentence(answer)


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "PUT", "DELETE", "GET"])
def test_other_methods_tell_a_stranger_nothing(bench: Bench, method: str) -> None:
    bench.make_app(basic_auth_user=USER, basic_auth_pass=PASSWORD)
    answer = bench.app.test_client().open("/predict", method=method)
    assert answer.status_code in (401, 405)


def test_with_basic_auth_everything_answers(bench: Bench) -> None:
    bench.make_app(basic_auth_user=USER, basic_auth_pass=PASSWORD)
    client = bench.app.test_client()
    assert "ready" in client.get("/health", headers=BASIC).get_json()
    assert client.post("/setup", headers=BASIC, json={"schema": RECTANGLES, "project": "7.1"}).status_code == 200
    assert client.get("/versions", headers=BASIC).get_json() == {"versions": []}


def test_health_in_full(bench: Bench) -> None:
    bench.serve_project()
    bench.serve_project(version=V2)
    client = bench.app.test_client()
    body = client.get("/health").get_json()
    assert client.get("/").get_json() == body
    assert body == {
        "status": "UP",
        "v2": True,
        "model_dir": str(bench.model_dir),
        "ready": False,
        "nodes": [],
        "node_count": 0,
        "asleep": [],
        "models": {
            "ocr": {"current": OCR_CARD.version, "load": [OCR_CARD.version]},
            "project-7": {"current": V2, "load": [V2, V1]},
        },
        "notes": [NO_NODE, COLD_START],
    }


def test_health_tells_what_the_nodes_report(bench: Bench) -> None:
    bench.serve_project()
    holds = {"ocr": [OCR_CARD.version]}
    errors = {f"project-7 {V1}": "sha256 differs"}
    for node, age_s in (("box-7080", 1), ("gone-7080", 60)):
        report = {"node": node, "time": time.time() - age_s, "holds": holds, "errors": errors}
        write_json(bench.model_dir / ".nodes" / f"{node}.json", report)
    (bench.model_dir / ".nodes" / "broken.json").write_text("{")
    body = bench.app.test_client().get("/health").get_json()
    assert body["ready"] is True
    assert body["nodes"] == ["box-7080"]
    broken, *notes = body["notes"]
    assert notes == [COLD_START, f"box-7080: project-7 {V1}: sha256 differs"]
    assert ".nodes/broken.json is no report of a node" in broken


def test_health_says_too_that_a_torchserve_wants_a_key(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    report = {"time": time.time(), "holds": {"ocr": [OCR_CARD.version]}, "errors": {}}
    write_json(bench.model_dir / ".nodes" / "far.json", report)
    url = bench.app.extensions["layoutloop"].settings.own_torchserve_url
    client = bench.make_app(torchserve_url=url).test_client()
    page = {"ocr": data_uri(b"Total")}
    assert client.get("/health").get_json()["ready"] is True
    assert bench.predict(page, config=OCR_TEMPLATE)["results"] == [[]]
    answer = client.get("/health")
    body = answer.get_json()
    assert body["ready"] is False
    assert body["notes"][1:] == [COLD_START]
    assert body["notes"][0].startswith(f"{url}/predictions/ocr/{OCR_CARD.version} wants a key, and there is none: ")
    assert "LAYOUTLOOP_ALLOW_OPEN_BIND=1" in body["notes"][0], "what to do"
    assert body["notes"][0] in caplog.text, "as the log says it"
    assert bench.fake.key not in answer.text
    assert "wants a key, and there is none" in client.get("/dashboard/live").text
    bench.fake.key = ""
    assert bench.predict(page, config=OCR_TEMPLATE)["results"][0]
    assert client.get("/health").get_json()["ready"] is True


def test_health_of_an_empty_model_store_says_what_is_missing(bench: Bench) -> None:
    (bench.model_dir / "ocr" / "serving.json").unlink()
    bench.make_app(label_studio_api_key="")
    body = bench.app.test_client().get("/health").get_json()
    assert (body["status"], body["ready"]) == ("UP", False)
    wanted = ("python -m scripts.archive --ocr", "LABEL_STUDIO_API_KEY is not set", COLD_START)
    assert all(any(part in note for note in body["notes"]) for part in wanted)


@pytest.mark.parametrize("name", ["ocr", "project-7"])
def test_health_stays_up_when_a_serving_json_is_broken(bench: Bench, name: str) -> None:
    """Otherwise Label Studio calls the whole back end disconnected, for every project."""
    bench.serve_project()
    (bench.model_dir / name / "serving.json").write_text("{")
    answer = bench.app.test_client().get("/health")
    assert answer.status_code == 200
    body = answer.get_json()
    assert body["status"] == "UP"
    assert any("serving.json cannot be understood" in note for note in body["notes"])
    assert not any("--ocr" in note for note in body["notes"])


@pytest.mark.parametrize("name", ["project-8/serving.json", ".nodes/other.json"])
@pytest.mark.parametrize("content", ["[" * 100_000, "Infinity", "[7]", '{"time": 1e999, "load": 5}', "\x00"])
def test_one_strange_file_is_named_and_hides_no_other(bench: Bench, name: str, content: str) -> None:
    bench.serve_project()
    report = {"time": time.time(), "holds": {"ocr": [OCR_CARD.version]}, "errors": {}}
    write_json(bench.model_dir / ".nodes" / "box.json", report)
    (bench.model_dir / name).parent.mkdir(exist_ok=True)
    (bench.model_dir / name).write_text(content)
    client = bench.app.test_client()
    answer = client.get("/health")
    assert answer.status_code == 200
    body = answer.get_json()
    assert (body["ready"], body["nodes"], body["models"]["project-7"]["current"]) == (True, ["box"], V1)
    assert [name in note for note in body["notes"]].count(True) == 1
    assert client.get("/versions").get_json() == {"versions": [V1]}
    assert client.get("/dashboard").status_code == 200


def test_health_is_fast_while_predicts_hang(bench: Bench) -> None:
    bench.fake.models["ocr", OCR_CARD.version] = lambda _: HANG
    bench.make_app(deadline_s=2.0, max_predicts=3)
    with ThreadPoolExecutor(3) as threads:
        data = [[{"ocr": data_uri(b"%d %d" % (one, two))} for two in range(5)] for one in range(3)]
        asked = [threads.submit(bench.predict, *one, config=OCR_TEMPLATE) for one in data]
        while len(bench.fake.seen) < 2:
            time.sleep(0.01)
        client = bench.app.test_client()
        times = []
        for _ in range(10):
            began = time.monotonic()
            assert client.get("/health").get_json()["status"] == "UP"
            times.append(time.monotonic() - began)
        assert sorted(times)[5] < 0.1
        began = time.monotonic()
        bench.setup(OCR_TEMPLATE)
        assert client.post("/webhook", json={"action": "ANNOTATION_CREATED"}).status_code == 200
        assert time.monotonic() - began < 0.6
        assert all(one.result(WAIT_S)["results"] == [[]] * 5 for one in asked)


def test_versions(bench: Bench) -> None:
    client = bench.app.test_client()
    assert client.get("/versions").get_json() == {"versions": []}
    bench.serve_project(7)
    bench.serve_project(7, version=V2)
    bench.serve_project(8)
    assert client.get("/versions").get_json() == {"versions": [V2, V1]}
    assert client.get("/versions?project=7").get_json() == {"versions": [V2, V1]}
    assert client.get("/versions?project=8.1795327242").get_json() == {"versions": [V1]}
    assert client.get("/versions?project=9").get_json() == {"versions": []}
    assert client.get("/versions?project=").get_json() == {"versions": [V2, V1]}
    refused = client.get("/versions?project=../x")
    assert refused.status_code == 400
    assert_sentence(refused)


def test_metrics(bench: Bench) -> None:
    bench.serve_project()
    bench.predict(image("Total"), {"image": "http://stranger.example/a.png"})
    answer = bench.app.test_client().get("/metrics")
    assert answer.content_type.startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'layoutloop_tasks_total{outcome="ok"} 1.0' in lines
    assert 'layoutloop_tasks_total{outcome="failed"} 1.0' in lines
    assert 'layoutloop_errors_total{code="address_refused"} 1.0' in lines
    assert 'layoutloop_page_seconds_count{stage="tag"} 1.0' in lines
    assert "layoutloop_pages_waiting 0.0" in lines


def test_setup_ignores_host_and_key_of_the_request(bench: Bench) -> None:
    bench.serve_project()
    plain = bench.setup()
    body = {
        "project": "7.1",
        "schema": RECTANGLES,
        "hostname": "http://169.254.169.254",
        "access_token": "stolen",
        "extra_params": {"anything": 1},
    }
    assert bench.post("/setup", body) == (200, {"model_version": plain})
    assert bench.predict({"image": "/data/upload/7/a.png"})["results"][0]
    assert [seen.headers["Authorization"] for seen in bench.studio.seen] == [f"Token {LEGACY_KEY}"]


def test_setup_says_which_of_several_controls_is_served(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    stamp = '<RectangleLabels name="stamp" toName="image"><Label value="round"/></RectangleLabels></View>'
    xml = RECTANGLES.replace("</View>", stamp)
    with caplog.at_level("INFO"):
        answers = [bench.post("/setup", {"schema": xml, "project": "7.1"})[1] for _ in range(3)]
    said = 'of 2 controls with labels <RectangleLabels name="label"> is served'
    assert all(answer["served"].startswith(said) for answer in answers)
    assert all(answer["model_version"] == bench.setup() for answer in answers)
    assert caplog.text.count(f"project 7: {said}") == 1


def test_a_config_that_cannot_be_served_is_told_at_setup(bench: Bench) -> None:
    status, body = bench.post(
        "/setup", {"schema": '<View><Text name="t" value="$t"/><Choices name="c" toName="t"/></View>', "project": "7.1"}
    )
    assert (status, body["error"]["code"]) == (422, "label_config_unsupported")
    assert "found <Choices> on <Text>" in body["error"]["message"]
    assert "<RectangleLabels" in body["error"]["message"]


BOMB = (
    '<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>'
    "<View>&c;</View>"
)
DEEP = b'{"tasks": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"


def predict_body(**changes: Any) -> bytes:
    body = {"tasks": [{"id": 1, "data": image("Total")}], "label_config": RECTANGLES, "project": "7.1"} | changes
    return json.dumps({name: value for name, value in body.items() if value != "left out"}).encode()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        pytest.param("/predict", b"", 400, id="empty"),
        pytest.param("/predict", b"hello", 400, id="not JSON"),
        pytest.param("/predict", b'{"tasks": [', 400, id="half of JSON"),
        pytest.param("/predict", b"\xff\xfe\x00", 400, id="not text"),
        pytest.param("/predict", b"[]", 400, id="a list"),
        pytest.param("/predict", b"null", 400, id="null"),
        pytest.param("/predict", b'"text"', 400, id="a string"),
        pytest.param("/predict", DEEP, 400, id="nested without end"),
        pytest.param("/predict", b'{"project": ' + b"9" * 5000 + b"}", 400, id="a number of 5000 digits"),
        pytest.param("/predict", predict_body(tasks="left out"), 400, id="no tasks"),
        pytest.param("/predict", predict_body(tasks={"0": {}}), 400, id="tasks: an object"),
        pytest.param("/predict", predict_body(tasks=None), 400, id="tasks: null"),
        pytest.param("/predict", predict_body(tasks=[None]), 400, id="a task: null"),
        pytest.param("/predict", predict_body(tasks=[[1]]), 400, id="a task: a list"),
        pytest.param("/predict", predict_body(label_config="left out"), 400, id="no label config"),
        pytest.param("/predict", predict_body(label_config=None), 400, id="label config: null"),
        pytest.param("/predict", predict_body(label_config=5), 400, id="label config: a number"),
        pytest.param("/predict", predict_body(label_config=""), 422, id="label config: empty"),
        pytest.param("/predict", predict_body(label_config="<View>"), 422, id="label config: half"),
        pytest.param("/predict", predict_body(label_config=BOMB), 422, id="label config: a bomb"),
        pytest.param("/predict", predict_body(label_config="<View>\ud800</View>"), 422, id="label config: surrogate"),
        pytest.param("/predict", predict_body(label_config="<a>" * 50_000), 422, id="label config: nested"),
        pytest.param("/predict", predict_body(project="../x"), 400, id="project: a path"),
        pytest.param("/predict", predict_body(project=10**30), 400, id="project: huge"),
        pytest.param("/predict", predict_body(project={"id": 7}), 400, id="project: an object"),
        pytest.param("/predict", predict_body(project="\ud800"), 400, id="project: surrogate"),
        pytest.param("/setup", b"[]", 400, id="setup: a list"),
        pytest.param("/setup", b"{}", 400, id="setup: no schema"),
        pytest.param("/setup", b'{"schema": 5}', 400, id="setup: schema: a number"),
        pytest.param("/setup", b'{"schema": "<View/>"}', 422, id="setup: nothing to draw"),
        pytest.param("/setup", json.dumps({"schema": BOMB}).encode(), 422, id="setup: a bomb"),
        pytest.param("/setup", json.dumps({"schema": RECTANGLES, "project": "x"}).encode(), 400, id="setup: project"),
        pytest.param("/webhook", b"{}", 400, id="webhook: no action"),
        pytest.param("/webhook", b'{"action": ["x"]}', 400, id="webhook: action: a list"),
        pytest.param("/webhook", b"action=START_TRAINING", 400, id="webhook: a form"),
        pytest.param("/webhook", DEEP, 400, id="webhook: nested without end"),
    ],
)
def test_malformed_bodies(bench: Bench, path: str, body: bytes, status: int) -> None:
    bench.serve_project()
    answer = bench.app.test_client().post(path, data=body, content_type="application/json")
    assert answer.status_code == status, answer.text
    assert_sentence(answer)
    assert bench.predict(image("Total"))["results"][0]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/predict", 405, id="GET predict"),
        pytest.param("GET", "/setup", 405, id="GET setup"),
        pytest.param("GET", "/webhook", 405, id="GET webhook"),
        pytest.param("POST", "/", 405, id="POST /"),
        pytest.param("POST", "/health", 405, id="POST health"),
        pytest.param("POST", "/versions", 405, id="POST versions"),
        pytest.param("GET", "/train", 405, id="GET train"),
        pytest.param("POST", "/jobs", 405, id="POST jobs"),
        pytest.param("DELETE", "/predict", 405, id="DELETE"),
        pytest.param("GET", "/nothing", 404, id="unknown path"),
        pytest.param("POST", "/validate", 404, id="a route of the old back end"),
        pytest.param("GET", "/../../etc/passwd", 404, id="a path that climbs"),
        pytest.param("GET", "/predict/%00", 404, id="a zero byte"),
    ],
)
def test_other_requests(bench: Bench, method: str, path: str, status: int) -> None:
    answer = bench.app.test_client().open(path, method=method, json={} if method == "POST" else None)
    assert answer.status_code == status
    assert_sentence(answer)


def test_json_without_its_content_type_is_refused(bench: Bench) -> None:
    answer = bench.app.test_client().post("/predict", data=predict_body(), content_type="text/plain")
    assert answer.status_code == 400
    assert_sentence(answer)
    assert "of text/plain" in answer.get_json()["error"]["message"]


@pytest.mark.parametrize("path", ["/predict", "/setup", "/webhook", "/train"])
def test_a_body_over_the_limit(bench: Bench, path: str) -> None:
    answer = bench.app.test_client().post(
        path, data=b"{}", content_type="application/json", environ_overrides={"CONTENT_LENGTH": str(MAX_BODY_BYTES + 1)}
    )
    assert answer.status_code == 413
    assert_sentence(answer)


def test_secrets_are_never_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Not even at DEBUG: not the person's login, no token, no key, no signature of an address, no word of a page."""
    quiet = logging.getLogger("urllib3")
    before = quiet.level
    caplog.set_level(logging.DEBUG)
    set_up_logging("DEBUG")
    try:
        bench.serve_project()
        bench.make_app(basic_auth_user=USER, basic_auth_pass=PASSWORD, deadline_s=1.0)
        signed = f"http://127.0.0.1:{bench.studio.port}/data/upload/7/missing?X-Signature=S1GNATURE"
        data = [{"image": signed}, {"image": "http://u:PASSWORD1@stranger.example/?X-Signature=S1GNATURE"}]
        data += [image("Confidential"), image("unreadable Confidential"), {"image": "/data/upload/7/a.png?x=S1GNATURE"}]
        tasks = [{"id": index, "data": one} for index, one in enumerate(data)]
        params = {"login": "L0GIN", "password": "PASSWORD1", "context": {"result": [{"meta": "C0NTEXT"}]}}
        client = bench.app.test_client()
        body = {"tasks": tasks, "label_config": RECTANGLES, "project": "7.1", "params": params}
        assert client.post("/predict", json=body, headers=BASIC).status_code == 200
        bench.fake.models.clear()
        assert client.post("/predict", json=body | {"tasks": [{"data": image("Confidential too")}]}, headers=BASIC)
        assert client.post("/predict", json=body, headers={"Authorization": "Basic UEFTU1dPUkQxOng="})
        setup = {"schema": RECTANGLES, "project": "7.1", "access_token": "ACCESST0KEN", "hostname": "http://h"}
        assert client.post("/setup", json=setup, headers=BASIC).status_code == 200
        hook = {"action": "ANNOTATION_CREATED", "project": {"token": "PROJECTT0KEN"}}
        assert client.post("/webhook", json=hook, headers=BASIC).status_code == 200
        assert client.post("/webhook", json=hook | {"action": "START_TRAINING"}, headers=BASIC).status_code == 400
        client.get("/versions?project=x", headers=BASIC)
    finally:
        quiet.setLevel(before)
    logged = "\n".join(f"{record.getMessage()} {record.args} {record.exc_text}" for record in caplog.records)
    assert "project 7 task 0" in logged
    secrets = ("S1GNATURE", "PASSWORD1", "L0GIN", "C0NTEXT", "ACCESST0KEN", "PROJECTT0KEN", "Confidential")
    secrets += (PASSWORD, LEGACY_KEY, bench.fake.key, BASIC["Authorization"][6:], "UEFTU1dPUkQxOng")
    secrets += (base64.b64encode(b"Confidential").decode()[:14],)
    assert [secret for secret in secrets if secret in logged] == []


def test_a_report_that_no_watcher_wrote_does_no_harm(bench: Bench) -> None:
    write_json(bench.model_dir / ".nodes" / "odd.json", {"time": time.time(), "errors": ["x"]})
    answer = bench.app.test_client().get("/health")
    assert (answer.status_code, answer.get_json()["ready"]) == (200, False)


def test_two_apps_in_one_process_do_not_add_up(bench: Bench) -> None:
    first = bench.make_app()
    bench.serve_project()
    bench.predict(image("Total"))
    bench.make_app()
    assert bench.metric("tasks_total", outcome="ok") == 0
    assert 'outcome="ok"} 1.0' in first.test_client().get("/metrics").text


def test_a_restarted_torchserve_is_found_again(bench: Bench) -> None:
    bench.serve_project()
    assert bench.predict(image("Total"))["results"][0]
    bench.fake.new_keys("keys-of-the-next-start")
    assert bench.predict(image("Date"))["results"][0]


def test_an_app_is_made_without_asking_anybody(bench: Bench) -> None:
    bench.make_app(model_dir=bench.model_dir / "missing", home=Path("/nonexistent"), torchserve_port=9)
    body = bench.app.test_client().get("/health").get_json()
    assert (body["status"], body["ready"]) == ("UP", False)
    assert bench.fake.seen == bench.studio.seen == []


def test_predicts_of_many_people_at_once(bench: Bench) -> None:
    """Whoever is admitted gets every task; the others get [] for every task."""
    go = threading.Event()

    def held(seen: Seen) -> Reply:
        assert go.wait(WAIT_S)
        return ocr(seen)

    bench.fake.models["ocr", OCR_CARD.version] = held
    bench.make_app(max_predicts=4)
    data = [[{"ocr": data_uri(b"%d %d" % (one, two))} for two in range(4)] for one in range(12)]
    with ThreadPoolExecutor(12) as threads:
        asked = [threads.submit(bench.predict, *one, config=OCR_TEMPLATE) for one in data]
        while sum(one.done() for one in asked) < 8:
            time.sleep(0.01)
        go.set()
        answers = [one.result(WAIT_S)["results"] for one in asked]
    assert sorted(sum(map(bool, answer)) for answer in answers) == [0] * 8 + [4] * 4
