"""The real Label Studio, seen in headless Chromium, in front of a real LayoutLoop that asks for a password.

The tests tell one story, in order: each needs those before it.
"""

from __future__ import annotations

import base64
import html
from typing import Any

import pytest
import requests

from demo.sheet import GoldRegion
from demo.studio import running_studio
from demo.tasks import annotation_result, label_config
from layoutloop.studio.label_config import parse_label_config
from tests.end_to_end.conftest import wait_for
from tests.end_to_end.screen import DrawnRegion
from tests.end_to_end.training_stack import (
    HEIGHT,
    LABELS,
    WIDTH,
    DrawnPage,
    current,
    draw_page,
    model_folder,
    wait_for_job,
)
from tests.end_to_end.world import World
from tests.layoutloop.documents.pdf_files import INVOICE, lines, text_pdf

pytestmark = pytest.mark.end_to_end

PAGES = 16
ANNOTATED = 12
THREE_PAGES = (
    '<View><Image name="image" valueList="$pages"/><Labels name="label" toName="image">'
    + "".join(f'<Label value="{label}"/>' for label in LABELS)
    + '</Labels><Rectangle name="bbox" toName="image"/>'
    '<TextArea name="transcription" toName="image" perRegion="true" editable="true"/></View>'
)


def train(world: World, project: int) -> str:
    asked = requests.post(f"{world.loop.url}/train", json={"project": project, "force": True}, timeout=30)
    assert asked.status_code == 202, asked.text
    return str(asked.json()["job"])


@pytest.fixture(scope="module")
def pages() -> list[DrawnPage]:
    return [draw_page(number) for number in range(PAGES)]


@pytest.fixture(scope="module")
def project(world: World, pages: list[DrawnPage]) -> int:
    """A connected project of Label Studio's OCR template, with a task for each page."""
    made = world.new_project("Bills", label_config(LABELS, "ocr"))
    folder = world.folder / "pages"
    folder.mkdir()
    for number, page in enumerate(pages):
        (folder / f"page-{number:02d}.png").write_bytes(page.png)
    imported = world.loop.command("scripts.import_documents", "--project", str(made), str(folder))
    assert imported.returncode == 0, imported.stderr
    connected = world.loop.command("scripts.connect", "--project", str(made))
    assert connected.returncode == 0, connected.stderr + connected.stdout
    return made


def test_connecting_and_importing_again_changes_nothing(world: World, project: int) -> None:
    (backend,) = world.ask("GET", "/api/ml", params={"project": project})
    hooks = world.ask("GET", "/api/webhooks/", params={"project": project})
    assert (backend["state"], backend["is_interactive"]) == ("CO", True)
    assert [hook["url"] for hook in hooks] == [f"{backend['url']}/webhook"]
    again = world.loop.command("scripts.connect", "--project", str(project))
    assert again.returncode == 0, again.stderr
    (same,) = world.ask("GET", "/api/ml", params={"project": project})
    assert (same["id"], same["url"]) == (backend["id"], backend["url"])
    assert world.ask("GET", "/api/webhooks/", params={"project": project}) == hooks
    imported = world.loop.command("scripts.import_documents", "--project", str(project), str(world.folder / "pages"))
    assert imported.returncode == 0, imported.stderr
    assert len(world.tasks(project)) == PAGES


def test_before_any_model_each_line_is_a_box_with_its_text(world: World, project: int, pages: list[DrawnPage]) -> None:
    task = world.tasks(project)[-1]["id"]
    drawn = world.screen.open_task(project, task)
    world.screen.picture("1-text-without-a-model")
    assert len(drawn) >= 4
    assert {label for region in drawn for label in region.labels} == set()
    read = " ".join(text for region in drawn for text in region.texts)
    assert all(region.text in read for region in pages[-1].regions)


def test_words_that_come_with_a_task_are_drawn_and_no_ocr_reads_the_page(world: World, pages: list[DrawnPage]) -> None:
    """A PDF's own words, imported; another engine's, in a task made by hand; a page whose words are another page's."""
    made = world.new_project("Own words", label_config(LABELS, "ocr"))
    key = parse_label_config(label_config(LABELS, "ocr")).value_key
    path = text_pdf(world.folder / "order.pdf", [lines(INVOICE)])
    imported = world.loop.command("scripts.import_documents", "--project", str(made), str(path))
    assert (imported.returncode, imported.stderr.count("left to OCR")) == (0, 0), imported.stderr
    assert "1 with the file's own words" in imported.stdout
    (order,) = world.tasks(made)
    assert order["data"]["words"].endswith(".json")
    image = f"data:image/png;base64,{base64.b64encode(pages[0].png).decode()}"
    words = [{"text": f"engine-{number}", "box": [40, 40 + 60 * number, 240, 70 + 60 * number]} for number in range(3)]
    theirs = {"format": 1, "width": WIDTH, "height": HEIGHT, "engine": "another", "words": words}
    wrong = theirs | {"width": HEIGHT, "height": WIDTH}
    # The last one is that which connect has a test prediction made for.
    tasks = [{"data": {key: image, "words": page}} for page in (wrong, theirs)]
    world.ask("POST", f"/api/projects/{made}/import", json=tasks)
    connected = world.loop.command("scripts.connect", "--project", str(made))
    assert connected.returncode == 0, connected.stderr + connected.stdout
    other_page, by_hand = [task["id"] for task in world.tasks(made)[1:]]
    for task, texts in ((order["id"], list(INVOICE)), (by_hand, [word["text"] for word in words])):
        drawn = world.screen.open_task(made, task)
        world.screen.picture(f"1-own-words-{texts[0]}")
        assert [text for region in drawn for text in region.texts] == texts
    world.retrieve_predictions(made)
    assert world.predictions(other_page) == []
    assert f"the words are of a page of {HEIGHT} x {WIDTH} pixels, and the image of this page has" in world.loop.log(
        "shim"
    )


def draw_roughly(world: World, gold: GoldRegion) -> DrawnRegion:
    """Draw with the magic wand, 5 % of the page too far at each side, on an annotation with nothing on it.

    What comes back is no larger than what is marked, within the 4 pixels that the generator leaves around a word; as
    roughly as it was drawn, it would be.
    """
    value = annotation_result([gold], WIDTH, HEIGHT)[0]["value"]
    left, top, width, height = (value[side] for side in ("x", "y", "width", "height"))
    world.screen.start_annotation()
    (region,) = world.screen.draw_smart((left - 5, top - 5, width + 10, height + 10))
    assert region.box == pytest.approx((left, top, width, height), abs=3)
    return region


def test_before_any_model_a_rectangle_drawn_roughly_becomes_its_words(
    world: World, project: int, pages: list[DrawnPage]
) -> None:
    gold = pages[0].regions[-1]
    world.screen.open_task(project, world.tasks(project)[0]["id"])
    region = draw_roughly(world, gold)
    world.screen.picture("2-drawn-without-a-model")
    assert (region.labels, region.texts) == ((), (gold.text,))


@pytest.fixture(scope="module")
def annotated(world: World, project: int, pages: list[DrawnPage]) -> None:
    """Most pages are annotated, through the API."""
    for task, page in list(zip(world.tasks(project), pages, strict=True))[:ANNOTATED]:
        marked = [region for region in page.regions if region.label in LABELS]
        result = annotation_result(marked, WIDTH, HEIGHT, "ocr")
        world.ask("POST", f"/api/tasks/{task['id']}/annotations", json={"result": result})


@pytest.mark.usefixtures("annotated")
def test_annotations_reach_the_webhook_with_its_password(world: World, project: int) -> None:
    jobs = world.jobs(project)
    assert {job["trigger"] for job in jobs} == {"annotations"}
    record = wait_for_job(world.loop, jobs[-1]["id"])
    assert (record["state"], record["verdict"]) == ("done", "skipped"), record
    assert "annotations are new since the last training" in record["message"]
    assert "requires Basic auth" not in world.loop.log("shim")


@pytest.fixture(scope="module")
def first_version(world: World, project: int, annotated: None) -> str:
    """The version that Start Training, pressed in the browser, put into service."""
    world.screen.start_training(project)
    job = wait_for(lambda: next((one for one in world.jobs(project) if one["trigger"] == "start_training"), None))
    record = wait_for_job(world.loop, job["id"])
    assert (record["state"], record["verdict"]) == ("done", "promoted"), record
    return str(record["version"])


def test_each_task_gets_one_prediction_of_the_new_model(world: World, project: int, first_version: str) -> None:
    world.screen.retrieve_predictions(project)
    tasks = [task["id"] for task in world.tasks(project)]
    before = {task: world.predictions(task) for task in tasks}
    new = {
        task: [one for one in found if one["model_version"].startswith(first_version)] for task, found in before.items()
    }
    assert {task: len(found) for task, found in new.items()} == dict.fromkeys(tasks, 1)
    world.screen.retrieve_predictions(project)
    world.screen.picture("3-predictions-retrieved")
    assert {task: world.predictions(task) for task in tasks} == before


def assert_drawn_as_predicted(drawn: list[DrawnRegion], prediction: dict[str, Any]) -> None:
    """Compare what the browser holds with what LayoutLoop answered: labels, texts, scores, pages and boxes."""
    expected: dict[str, dict[str, Any]] = {}
    for result in prediction["result"]:
        one = expected.setdefault(result["id"], {"labels": (), "texts": (), "page": 0})
        value = result["value"]
        one["score"], one["page"] = result["score"], result.get("item_index", 0)
        one["box"] = tuple(value[side] for side in ("x", "y", "width", "height"))
        one["labels"] = tuple(value.get("labels") or value.get("rectanglelabels") or one["labels"])
        one["texts"] = tuple(value.get("text") or one["texts"])
    assert expected
    assert sorted((one.page, one.labels, one.texts, one.score) for one in drawn) == sorted(
        (one["page"], one["labels"], one["texts"], pytest.approx(one["score"])) for one in expected.values()
    )
    for one in drawn:
        assert any(one.box == pytest.approx(other["box"], abs=0.02) for other in expected.values()), one


def newest(world: World, task: int) -> dict[str, Any]:
    return max(world.predictions(task), key=lambda one: one["id"])


def test_the_screen_shows_boxes_labels_texts_and_scores(
    world: World, project: int, first_version: str, pages: list[DrawnPage]
) -> None:
    task = world.tasks(project)[-1]["id"]
    drawn = world.screen.open_task(project, task)
    world.screen.picture("4-ocr-template")
    assert_drawn_as_predicted(drawn, newest(world, task))
    found = {(label, text) for region in drawn for label in region.labels for text in region.texts}
    assert found == {(region.label, region.text) for region in pages[-1].regions if region.label in LABELS}


def test_a_rectangle_drawn_roughly_becomes_its_words_with_the_models_label(
    world: World, project: int, first_version: str, pages: list[DrawnPage]
) -> None:
    gold = pages[-3].regions[-1]
    world.screen.open_task(project, world.tasks(project)[-3]["id"])
    region = draw_roughly(world, gold)
    world.screen.picture("5-drawn-with-a-model")
    assert (region.labels, region.texts) == ((gold.label,), (gold.text,))


def test_what_is_submitted_on_the_screen_reaches_the_webhook(world: World, project: int, first_version: str) -> None:
    task = world.tasks(project)[-2]["id"]
    world.screen.open_task(project, task)
    jobs = len(world.jobs(project))
    stored = world.screen.submit()
    assert stored["parent_prediction"] == newest(world, task)["id"]
    wait_for(lambda: len(world.jobs(project)) > jobs)
    assert world.jobs(project)[0]["trigger"] == "annotations"


@pytest.fixture(scope="module")
def other_projects(world: World, project: int, first_version: str, pages: list[DrawnPage]) -> tuple[int, int]:
    """Projects of other label configs, served by the same checkpoint: RectangleLabels, and tasks of three pages."""
    rectangles = world.new_project("Rectangles", label_config(LABELS))
    many = world.new_project("Three pages", THREE_PAGES)
    uploads = [("file", (f"page-{number}.png", pages[number].png)) for number in range(3)]
    for upload in uploads:
        world.ask("POST", f"/api/projects/{rectangles}/import", files=[upload])
    stored = [
        world.ask("POST", f"/api/projects/{many}/import?commit_to_project=false", files=[upload]) for upload in uploads
    ]
    files = [world.ask("GET", f"/api/import/file-upload/{one['file_upload_ids'][0]}")["file"] for one in stored]
    world.ask("POST", f"/api/projects/{many}/import", json=[{"data": {"pages": [f"/data/{file}" for file in files]}}])
    checkpoint = model_folder(world.loop, project) / f"checkpoint-{first_version}"
    for made in (rectangles, many):
        archived = world.loop.command(
            "scripts.archive", "--project", str(made), "--checkpoint", str(checkpoint), "--serve"
        )
        assert archived.returncode == 0, archived.stderr
        connected = world.loop.command("scripts.connect", "--project", str(made))
        assert connected.returncode == 0, connected.stderr
    return rectangles, many


def test_rectangles_with_labels(world: World, other_projects: tuple[int, int]) -> None:
    rectangles, _ = other_projects
    task = world.tasks(rectangles)[0]["id"]
    drawn = world.screen.open_task(rectangles, task)
    world.screen.picture("6-rectangle-labels")
    assert_drawn_as_predicted(drawn, newest(world, task))
    assert {region.labels for region in drawn} == {(label,) for label in LABELS}


def test_a_task_of_three_pages(world: World, other_projects: tuple[int, int]) -> None:
    _, many = other_projects
    task = world.tasks(many)[0]["id"]
    drawn = world.screen.open_task(many, task)
    world.screen.picture("7-three-pages")
    assert_drawn_as_predicted(drawn, newest(world, task))
    assert {(region.page, region.labels) for region in drawn} == {
        (page, (label,)) for page in range(3) for label in LABELS
    }


@pytest.fixture(scope="module")
def restored(world: World, project: int, first_version: str) -> str:
    """The first version again, under its new stamp, after another one was in service."""
    second = wait_for_job(world.loop, train(world, project))
    assert second["verdict"] == "promoted", second
    world.retrieve_predictions(project)
    back = world.loop.command("scripts.rollout", "--project", str(project), "--back-to", first_version)
    assert back.returncode == 0, back.stderr
    version = current(world.loop, project)
    assert version is not None
    assert version > second["version"]
    wait_for(lambda: str(world.ask("GET", f"/api/projects/{project}/")["model_version"]).startswith(version))
    world.retrieve_predictions(project)
    return version


def test_after_a_restore_the_annotator_sees_the_restored_boxes_once(world: World, project: int, restored: str) -> None:
    task = world.tasks(project)[-1]["id"]
    assert newest(world, task)["model_version"].startswith(restored)
    drawn = world.screen.open_task(project, task)
    world.screen.picture("8-quick-view-after-a-restore")
    assert_drawn_as_predicted(drawn, newest(world, task))
    offered, drawn = world.screen.open_label_stream(project)
    world.screen.picture("9-label-stream-after-a-restore")
    assert newest(world, offered)["model_version"].startswith(restored)
    assert_drawn_as_predicted(drawn, newest(world, offered))


def test_ordered_by_prediction_score_the_least_certain_page_of_the_version_in_service_comes_first(
    world: World, project: int, restored: str
) -> None:
    scores = {task["id"]: newest(world, task["id"])["score"] for task in world.tasks(project)}
    listed = world.screen.order_by_prediction_score(project)
    world.screen.picture("10-ordered-by-prediction-score")
    assert sorted(listed) == sorted(scores)
    assert [scores[task] for task in listed] == sorted(scores.values())
    assert listed != sorted(listed), "the order of their ids, which is how they were listed before"


def test_deleting_disturbs_nothing(world: World, other_projects: tuple[int, int], project: int) -> None:
    rectangles, many = other_projects
    first = world.tasks(project)[0]
    (annotation,) = world.ask("GET", f"/api/tasks/{first['id']}/annotations")
    world.ask("DELETE", f"/api/annotations/{annotation['id']}")
    world.ask("DELETE", f"/api/tasks/{first['id']}")
    world.ask("DELETE", f"/api/projects/{rectangles}")
    task = world.tasks(many)[0]["id"]
    before = world.predictions(task)
    world.retrieve_predictions(many)
    assert world.predictions(task) == before
    assert requests.get(f"{world.loop.url}/health", timeout=5).json()["ready"]
    assert "Traceback" not in world.loop.log("shim")


def test_a_project_deleted_in_the_middle_of_a_job(world: World, pages: list[DrawnPage]) -> None:
    doomed = world.new_project("Doomed", label_config(LABELS, "ocr"))
    for page in pages[:3]:
        world.ask("POST", f"/api/projects/{doomed}/import", files=[("file", ("page.png", page.png))])
    for task, page in zip(world.tasks(doomed), pages, strict=False):
        result = annotation_result(page.regions, WIDTH, HEIGHT, "ocr")
        world.ask("POST", f"/api/tasks/{task['id']}/annotations", json={"result": result})
    job = train(world, doomed)
    wait_for(lambda: world.job(job)["state"] == "running")
    world.ask("DELETE", f"/api/projects/{doomed}")
    record = wait_for_job(world.loop, job)
    assert record["state"] == "failed", "it was done before it was deleted"
    assert f"/api/projects/{doomed}/ answered 404: the project does not exist" in record["error"]


def test_label_studio_goes_away_and_comes_back(world: World, project: int, restored: str) -> None:
    url, account = world.studio.url, world.studio.account
    world.studio.process.terminate()
    world.studio.process.wait(60)
    job = train(world, project)
    wait_for(lambda: world.job(job)["error"])
    error = world.job(job)["error"]  # of the project's address, or of the key's exchange where the access token is old
    assert error.startswith(f"{url}/")
    assert "does not take connections" in error
    page = requests.get(f"{world.loop.url}/dashboard", timeout=30).text
    assert html.escape(error) in page, "the dashboard does not say it"
    with running_studio(world.folder / "label-studio", int(url.rpartition(":")[2]), account):
        record = wait_for_job(world.loop, job)
        assert (record["state"], record["verdict"]) == ("done", "promoted"), record
        new = record["version"]
        wait_for(lambda: str(world.ask("GET", f"/api/projects/{project}/")["model_version"]).startswith(new))
