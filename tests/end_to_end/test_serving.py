"""The main job against the real TorchServe: a Label Studio task in, labelled rectangles out."""

from __future__ import annotations

import base64
import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from PIL import Image, ImageDraw

from handler.tagging.tagger import Tagger, TaggerSettings
from handler.wire import page_from_json
from layoutloop.store.model_store import ModelStore
from node.processes import instance_processes
from tests.checkpoints import make_checkpoint, word_piece
from tests.end_to_end.conftest import PLAIN, VISUAL, Stack, is_ready, make_stack, running, wait_for
from tests.end_to_end.label_studio import Studio

pytestmark = pytest.mark.end_to_end

CAPTURES = sorted((Path(__file__).parent.parent / "data" / "captures").glob("*.json"))
RECTANGLES = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    '<Label value="Header"/><Label value="Total"/></RectangleLabels></View>'
)
OCR = json.loads((CAPTURES[0].parent / "setup_ocr_template.json").read_text())["body"]["schema"]


def page_image(number: int = 0, size: tuple[int, int] = (800, 600)) -> bytes:
    """Return a PNG with a few lines of text."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for line, text in enumerate((f"Invoice number {1000 + number}", "Header of the page", "Total 12.50 EUR")):
        draw.text((60, 60 + 120 * line), text, fill="black", font_size=48)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def tasks(key: str, *images: str) -> list[dict[str, Any]]:
    return [{"id": number, "data": {key: image}} for number, image in enumerate(images, start=1)]


def read(stack: Stack, image: bytes, **headers: str) -> requests.Response:
    return requests.post(stack.torchserve("/predictions/ocr"), data=image, headers=stack.token() | headers, timeout=60)


@pytest.mark.parametrize("project", [VISUAL, PLAIN])
def test_a_served_archive_answers_as_the_tagger_does_offline(stack: Stack, project: int) -> None:
    page = read(stack, page_image(), **{"X-LayoutLoop-Thumbnail": "1"}).json()
    served = requests.post(
        stack.torchserve(f"/predictions/project-{project}"), json=page, headers=stack.token(), timeout=60
    ).json()
    version = ModelStore(stack.settings.model_dir).manifest(f"project-{project}").current
    offline = Tagger.load(
        stack.settings.model_dir / f"project-{project}" / f"checkpoint-{version}", TaggerSettings(threads=1)
    )
    (expected,) = offline.tag([page_from_json(page)])
    assert served["model_version"] == version
    assert [(one["label"], one["text"], one["words"]) for one in served["regions"]] == [
        (one.label, one.text, list(one.words)) for one in expected.regions
    ]
    assert [one["score"] for one in served["regions"]] == pytest.approx(
        [one.score for one in expected.regions], abs=1e-4
    )
    assert served["regions"]


def test_a_model_takes_image_bytes_too(stack: Stack) -> None:
    through_ocr = read(stack, page_image(), **{"X-LayoutLoop-Thumbnail": "1"}).json()
    url, token = stack.torchserve(f"/predictions/project-{VISUAL}"), stack.token()
    assert (
        requests.post(url, data=page_image(), headers=token, timeout=60).json()
        == requests.post(url, json=through_ocr, headers=token, timeout=60).json()
    )


def test_workers_run_the_archive_alone_without_keys(stack: Stack) -> None:
    workers = [one for one in instance_processes(stack.settings.home) if "model_service_worker" in str(one.cmdline())]
    assert len(workers) >= 4
    for worker in workers:
        environ = worker.environ()
        assert not [name for name in environ if "KEY" in name or "AUTH" in name or name.startswith("LABEL_STUDIO")]
        path = [Path(entry).resolve() for entry in environ.get("PYTHONPATH", "").split(":") if entry]
        assert Path(__file__).parents[2] not in [*path, Path(worker.cwd())]


def test_rectangles_with_label_and_one_bad_task_among_good_ones(stack: Stack) -> None:
    good = [data_uri(page_image(number)) for number in range(4)]
    images = [good[0], data_uri(page_image(9)[:300]), good[1], "http://10.1.2.3/x.png", good[2], "/etc/passwd", good[3]]
    body = stack.predict({"tasks": tasks("image", *images), "project": f"{PLAIN}.1", "label_config": RECTANGLES})
    assert [bool(entry) for entry in body["results"]] == [True, False, True, False, True, False, True]
    assert all(entry == [] or entry["model_version"] == body["model_version"] for entry in body["results"])
    drawn = body["results"][0]["result"]
    assert {one["type"] for one in drawn} == {"rectanglelabels"}
    assert {label for one in drawn for label in one["value"]["rectanglelabels"]} <= {"Header", "Total"}
    reasons = ((2, "image_truncated"), (4, "address_refused"), (6, "address_refused"))
    # The supervisor writes the log a moment after the shim said it.
    wait_for(lambda: all(f"task {task}: {code}" in stack.log("shim") for task, code in reasons), 10)


def test_cold_start_gives_text_lines(stack: Stack) -> None:
    body = stack.predict({"tasks": tasks("ocr", data_uri(page_image())), "project": "4711.1", "label_config": OCR})
    assert body["model_version"].startswith("ocr-")
    texts = [one["value"]["text"] for one in body["results"][0]["result"] if one["type"] == "textarea"]
    assert ["Total 12.50 EUR"] in texts
    assert not [one for one in body["results"][0]["result"] if one["type"] == "labels"]


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_every_request_that_label_studio_was_seen_to_send(stack: Stack, capture: Path) -> None:
    sent = json.loads(capture.read_text())
    answer = requests.request(sent["method"], stack.url + sent["path"], json=sent["body"], timeout=120)
    body = answer.json()
    assert answer.status_code == 200, answer.text
    if capture.stem == "webhook_START_TRAINING":
        assert requests.get(f"{stack.url}/jobs/{body['job']}", timeout=5).json()["trigger"] == "start_training"
    if sent["path"] == "/predict":
        assert len(body["results"]) == len(sent["body"]["tasks"])
        assert None not in body["results"]
        setup = {"project": sent["body"].get("project"), "schema": sent["body"]["label_config"]}
        assert (
            body["model_version"] == requests.post(f"{stack.url}/setup", json=setup, timeout=5).json()["model_version"]
        )


def test_health_and_setup_answer_while_many_pages_are_read(stack: Stack) -> None:
    images = [data_uri(page_image(number, (1600, 1200))) for number in range(100, 112)]
    body = {"tasks": tasks("ocr", *images), "project": "4712.1", "label_config": OCR}
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(stack.predict, body) for _ in range(4)]
        while not all(one.done() for one in asked):
            assert requests.get(f"{stack.url}/health", timeout=1).json()["status"] == "UP"
            assert requests.post(f"{stack.url}/setup", json={"schema": OCR}, timeout=3).ok
    assert all(entry for one in asked for entry in one.result()["results"])


def test_torchserve_wants_its_token_and_loads_nothing_from_outside(stack: Stack) -> None:
    assert requests.post(stack.torchserve("/predictions/ocr"), data=page_image(), timeout=10).status_code == 400
    assert requests.get(stack.torchserve("/models", offset=1), timeout=10).status_code == 400
    for url in ("http://127.0.0.1:1/x.mar", "file:///etc/passwd", "../x.mar"):
        answer = requests.post(
            stack.torchserve("/models", offset=1), params={"url": url}, headers=stack.token("management"), timeout=10
        )
        assert answer.status_code in (400, 404), answer.text
    addresses = {
        connection.laddr.ip
        for process in instance_processes(stack.settings.home)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}


def test_predict_command_splits_prints_and_draws(stack: Stack, tmp_path: Path) -> None:
    frames = [Image.open(io.BytesIO(page_image(number))) for number in (1, 2)]
    frames[0].save(tmp_path / "two.tiff", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "two.pdf", save_all=True, append_images=frames[1:], resolution=72)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing")
    files = [str(tmp_path / name) for name in ("two.tiff", "two.pdf", "broken.png")]
    ran = stack.command("scripts.predict", *files, "--project", str(PLAIN), "--draw", str(tmp_path / "drawn"))
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [(Path(one["file"]).name, one["page"]) for one in answers] == [
        ("two.tiff", 1), ("two.tiff", 2), ("two.pdf", 1), ("two.pdf", 2), ("broken.png", 1)
    ]  # fmt: skip
    assert [bool(one.get("regions")) for one in answers] == [True, True, True, True, False]
    assert answers[-1]["error"]["code"] == "image_unreadable"
    assert ran.returncode == 1
    drawn = {f"two.{suffix}-{page}.png" for suffix in ("tiff", "pdf") for page in (1, 2)}
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == drawn


def test_a_new_version_takes_over_and_a_damaged_one_does_not(stack: Stack) -> None:
    model_dir = stack.settings.model_dir
    name = f"project-{PLAIN}"
    before = ModelStore(model_dir).manifest(name).current
    checkpoint = str(model_dir / name / f"checkpoint-{before}")
    archived = stack.command("scripts.archive", "--project", str(PLAIN), "--checkpoint", checkpoint, "--serve")
    assert archived.returncode == 0, archived.stderr
    after = ModelStore(model_dir).manifest(name).current
    assert after > before
    body = {"tasks": tasks("image", data_uri(page_image())), "project": PLAIN, "label_config": RECTANGLES}
    assert stack.predict(body)["results"][0]["model_version"].startswith(after)
    assert stack.command("scripts.archive", "--project", str(PLAIN), "--checkpoint", checkpoint).returncode == 0
    damaged = max((model_dir / name).glob("*.mar"))
    damaged.write_bytes(damaged.read_bytes()[:5000])
    version = damaged.stem.removeprefix(f"{name}-")
    refused = stack.command("scripts.rollout", "--project", str(PLAIN), "--to", version)
    assert refused.returncode == 1
    assert "cannot serve" in refused.stderr
    assert ModelStore(model_dir).manifest(name).current == after
    assert stack.predict(body)["results"][0]["model_version"].startswith(after)
    shutil.rmtree(model_dir / name / f"checkpoint-{version}")


def test_a_killed_torchserve_comes_back_with_its_models(stack: Stack) -> None:
    (java,) = [one for one in instance_processes(stack.settings.home) if one.name() == "java"]
    java.kill()
    java.wait(30)
    body = {"tasks": tasks("image", data_uri(page_image(77))), "project": PLAIN, "label_config": RECTANGLES}
    assert stack.predict(body)["results"][0], "asked while it was away, answered inside the deadline"
    wait_for(lambda: is_ready(stack.settings, (VISUAL, PLAIN)))


def test_an_idle_projects_worker_goes_and_comes_back(tmp_path_factory: pytest.TempPathFactory, studio: Studio) -> None:
    folder = tmp_path_factory.mktemp("idle")
    made = make_stack(folder / "home", studio)
    own = replace(made, environ=made.environ | {"LAYOUTLOOP_IDLE_S": "4", "LAYOUTLOOP_OCR_WORKERS": "1"})
    checkpoint = make_checkpoint(
        folder / "wordpiece", tokenizer=word_piece(), labels=("Header", "Total"), outside_bias=-9
    )
    built = own.command("scripts.archive", *f"--project 1 --checkpoint {checkpoint} --serve --untested".split())
    assert built.returncode == 0, built.stderr

    def workers() -> int:
        return sum("model_service_worker" in str(one.cmdline()) for one in own.processes())

    def predict(number: int) -> Any:
        sent = tasks("image", data_uri(page_image(number)))
        return own.predict({"tasks": sent, "project": "1.1", "label_config": RECTANGLES})["results"][0]

    with running(own, folder / "out", (1,)):
        assert predict(1)["result"]
        for number in (2, 3):
            wait_for(lambda: json.loads(own.settings.node_report.read_text())["asleep"] == ["project-1"])
            wait_for(lambda: workers() == 1, 10)  # only that of ocr is left
            assert is_ready(own.settings, (1,)), "it counts as held"
            assert predict(number)["result"]
            assert workers() == 2
