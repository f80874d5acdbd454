"""The command against a far server that imports as Label Studio 1.23.2 was seen to."""

from __future__ import annotations

import email
import io
import json
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from handler.images import ImageLimits, open_page
from handler.page import Page, Size
from layoutloop.documents.split import pages_of
from layoutloop.errors import DocumentUnreadable
from layoutloop.studio.api_key import LabelStudioKey
from layoutloop.studio.image_fetcher import ImageFetcher
from layoutloop.studio.label_config import image_references, parse_label_config
from layoutloop.studio.task_words import read_task_words, with_picture, words_of_task
from scripts.import_documents import main
from tests.far_servers import LEGACY_KEY, _Handler, _Server, serve
from tests.layoutloop.documents.pdf_files import INVOICE, lines, mixed_up_pdf, text_pdf
from tests.layoutloop.documents.test_split import encrypted_pdf

PROJECT = 7
NOBODY = 65534
LABELS = '<RectangleLabels name="label" toName="page"><Label value="Total"/></RectangleLabels>'
LIST = f'<View><Image name="page" valueList="$pages"/>{LABELS}</View>'
ONE = f'<View><Image name="page" value="$image"/>{LABELS}</View>'
TITLED = f'<View><Text name="name" value="$title"/><Image name="page" value="$image"/>{LABELS}</View>'
ASKS_FOR_MORE = f'<View><Text name="text" value="$text"/><Image name="page" value="$image"/>{LABELS}</View>'
SUFFIXES = {".json", ".bmp", ".gif", ".jpg", ".jpeg", ".png", ".webp", ".pdf", ".txt"}


@dataclass
class Studio:
    """A project, and what the real one does with files and tasks; its lists grow as requests come.

    Args:
        label_config: XML.
        max_upload_bytes: what the proxy before it takes.
        uploads_left: after so many it drops the connection; None: never.
        interrupts: somebody presses Ctrl-C when it makes tasks.
        background: it is the edition that answers an import's number only.
    """

    label_config: str = LIST
    max_upload_bytes: int = 250 * 2**20
    uploads_left: int | None = None
    interrupts: bool = False
    background: bool = False
    prefix: str = ""
    uploads: dict[int, dict[str, Any]] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    tasks: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, handler: _Handler) -> None:
        if handler.headers.get("Authorization") != f"Token {LEGACY_KEY}":
            refuse(handler, 401, "Invalid token.")
            return
        parts = urlsplit(handler.path)
        path, query = parts.path.removeprefix(self.prefix), parse_qs(parts.query)
        base = f"/api/projects/{PROJECT}"
        if path == "/api/tasks":
            self._list_tasks(handler, int(query["page"][0]), int(query["page_size"][0]))
        elif path == f"{base}/":
            answer(handler, {"id": PROJECT, "label_config": self.label_config})
        elif path == f"{base}/file-uploads":
            answer(handler, list(self.uploads.values()) if query.get("all") == ["true"] else [])
        elif found := re.fullmatch(r"/api/import/file-upload/(\d+)", path):
            answer(handler, self.uploads[int(found[1])])
        elif path == f"{base}/import" and handler.headers["Content-Type"].startswith("multipart/"):
            self._keep(handler)
        elif path == f"{base}/import":
            self._make_tasks(handler)
        elif path.startswith("/data/upload/"):
            handler.reply(200, self.contents[path.removeprefix("/data/")])
        else:
            refuse(handler, 404, "No Project matches the given query.")

    def _list_tasks(self, handler: _Handler, page: int, size: int) -> None:
        found = self.tasks[(page - 1) * size : page * size]
        if not found and page > 1:
            refuse(handler, 404, "Invalid page.")
            return
        tasks = [{"id": task["id"], "meta": task.get("meta")} for task in found]
        answer(handler, {"total": len(self.tasks), "tasks": tasks})

    def _keep(self, handler: _Handler) -> None:
        if self.uploads_left == 0:
            handler.close_connection = True
            return
        body = handler.server.seen[-1].body
        if len(body) > self.max_upload_bytes:
            handler.reply(413, b"<html>413 Request Entity Too Large</html>", Content_Type="text/html")
            return
        form = email.message_from_bytes(
            b"Content-Type: " + handler.headers["Content-Type"].encode() + b"\r\n\r\n" + body
        )
        files = {part.get_param("name", header="content-disposition"): part for part in form.get_payload()}
        kept = []
        for part in files.values():  # of several in one field the last one
            name, data = part.get_filename(), part.get_payload(decode=True)
            if Path(name).suffix not in SUFFIXES:
                refuse(handler, 400, f"{Path(name).suffix} extension is not supported")
                return
            number = len(self.uploads) + 1
            file = f"upload/{PROJECT}/{number:08x}-{name}"
            self.uploads[number] = {"id": number, "file": file, "size": len(data)}
            self.contents[file] = data
            kept.append(number)
            if self.uploads_left is not None:
                self.uploads_left -= 1
        if self.background:
            answer(handler, {"import": 1}, 201)
        elif "<Text" in self.label_config:
            refuse(handler, 400, "Failed to parse input file: Your label config has more than one data key")
        else:
            answer(handler, {"task_count": len(kept), "file_upload_ids": kept}, 201)

    def _make_tasks(self, handler: _Handler) -> None:
        tasks = json.loads(handler.server.seen[-1].body)
        if self.interrupts:
            os.kill(os.getpid(), signal.SIGINT)
        for key in re.findall(r'value="\$(\w+)"', self.label_config):
            if any(key not in task["data"] for task in tasks):
                refuse(handler, 400, f'Error at item 0: "{key}" key is expected in task data')
                return
        for task in tasks:
            self.tasks.append({"id": len(self.tasks) + 1, **task})
        answer(handler, {"task_count": len(tasks), "file_upload_ids": []}, 201)


def answer(handler: _Handler, body: object, status: int = 200) -> None:
    handler.reply(status, json.dumps(body).encode(), Content_Type="application/json")


def refuse(handler: _Handler, status: int, reason: str) -> None:
    answer(handler, {"status_code": status, "detail": reason, "validation_errors": None}, status)


@pytest.fixture
def studio() -> Studio:
    return Studio()


@pytest.fixture
def server(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    with serve("127.0.0.1", studio) as running:
        monkeypatch.setenv("LABEL_STUDIO_URL", f"http://127.0.0.1:{running.port}")
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY_KEY)
        yield running


class Run:
    """Runs the command; `said` and `result` are of the last run."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.said = self.result = ""

    def __call__(self, *arguments: object, project: int = PROJECT) -> int:
        status = main(["--project", str(project), *map(str, arguments)])
        captured = self._capsys.readouterr()
        self.said, self.result = captured.err, captured.out.strip()
        return status


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], server: _Server) -> Run:
    return Run(capsys)


def page(shade: int = 200, mode: str = "RGB") -> Image.Image:
    """A page, 60 x 40, with a dark corner at the top left."""
    image = Image.new("L", (60, 40), shade)
    image.paste(0, (0, 0, 10, 10))
    return image.convert(mode)


def saved(path: Path, *shades: int, mode: str = "RGB", **options: Any) -> Path:
    """Write a document with one page for each shade."""
    first, *others = [page(shade, mode) for shade in shades or (200,)]
    if others:
        options |= {"save_all": True, "append_images": others}
    first.save(path, **options)
    return path


def turned(path: Path) -> Path:
    exif = Image.Exif()
    exif[274] = 6
    return saved(path, exif=exif)


def shown(studio: Studio, position: int = -1) -> list[bytes]:
    """The images of a task, read as a prediction reads them."""
    url = os.environ["LABEL_STUDIO_URL"]
    fetcher = ImageFetcher(url, LabelStudioKey(url, LEGACY_KEY))
    try:
        task = studio.tasks[position]
        return [fetcher.fetch(one) for one in image_references(task, parse_label_config(studio.label_config))]
    finally:
        fetcher.close()


def words_shown(studio: Studio, position: int = -1) -> list[str | None]:
    """The words that a task brings for each page, read as a prediction reads them; None for a page without."""
    config, task = parse_label_config(studio.label_config), studio.tasks[position]
    url = os.environ["LABEL_STUDIO_URL"]
    fetcher = ImageFetcher(url, LabelStudioKey(url, LEGACY_KEY))
    try:
        found: list[str | None] = []
        images = image_references(task, config)
        for reference, words in zip(images, words_of_task(task, config, len(images)).pages, strict=True):
            page = words and read_task_words(words, fetcher.fetch)
            if page:
                image = open_page(fetcher.fetch(reference), ImageLimits())
                page = with_picture(page, Page(Size(*image.size), "", ()))
            found.append(page and " ".join(word.text for word in page.words))
        return found
    finally:
        fetcher.close()


def posts(server: _Server) -> list[str]:
    return [one.target for one in server.seen if one.method == "POST"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("page.png", {}, id="PNG"),
        pytest.param("page.jpeg", {"quality": 70}, id="JPEG"),
        pytest.param("page.gif", {"mode": "L"}, id="GIF"),
        pytest.param("moving.gif", {"mode": "L", "save_all": True, "append_images": [page(100)]}, id="moving GIF"),
        pytest.param("page.bmp", {}, id="BMP"),
        pytest.param("page.webp", {"lossless": True}, id="WebP"),
        pytest.param("page.dat", {"format": "PNG"}, id="a PNG by another name"),
    ],
)
def test_what_a_browser_shows_stays_as_it_is(
    run: Run, studio: Studio, tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    path = saved(tmp_path / name, **options)
    assert run(path) == 0
    assert run.result == "imported 1 document (1 page)"
    assert shown(studio) == [path.read_bytes()]
    assert [task["data"]["title"] for task in studio.tasks] == [name]


@pytest.mark.parametrize(
    ("name", "options", "mode"),
    [
        pytest.param("page.tiff", {}, "RGB", id="TIFF"),
        pytest.param("fax.tif", {"mode": "1", "compression": "group4"}, "L", id="a fax stays grey"),
        pytest.param("page.jp2", {"irreversible": False}, "RGB", id="JPEG 2000"),
        pytest.param("page.ppm", {}, "RGB", id="PPM"),
    ],
)
def test_what_a_browser_does_not_show_becomes_a_png(
    run: Run, studio: Studio, tmp_path: Path, name: str, options: dict[str, Any], mode: str
) -> None:
    path = saved(tmp_path / name, **options)
    assert run(path) == 0
    (data,) = shown(studio)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", mode, (60, 40))
    assert open_page(data, ImageLimits()).tobytes() == open_page(path.read_bytes(), ImageLimits()).tobytes()


def test_a_turned_photograph_keeps_its_orientation_tag(run: Run, studio: Studio, tmp_path: Path) -> None:
    path = turned(tmp_path / "turned.jpg")
    assert run(path) == 0
    assert shown(studio) == [path.read_bytes()]
    assert open_page(shown(studio)[0], ImageLimits()).size == (40, 60)


@pytest.mark.parametrize("name", ["three.pdf", "three.tiff"])
def test_a_document_is_one_task_with_all_its_pages(run: Run, studio: Studio, tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / name, 250, 200, 150, resolution=72)
    assert run(path, saved(tmp_path / "one.png"), "--dpi", 144) == 0
    assert run.result == "imported 2 documents (4 pages)"
    assert [len(task["data"]["pages"]) for task in studio.tasks] == [3, 1]
    pages = [open_page(data, ImageLimits()) for data in shown(studio, 0)]
    assert [one.convert("L").getpixel((30, 30)) for one in pages] == pytest.approx([250, 200, 150], abs=4)
    assert {one.size for one in pages} == {(120, 80) if name.endswith("pdf") else (60, 40)}


def test_where_a_task_shows_one_image_each_page_is_a_task(run: Run, studio: Studio, tmp_path: Path) -> None:
    studio.label_config = ONE
    files = [saved(tmp_path / f"{name}.tiff", 250, shade) for name, shade in (("a", 10), ("b", 20))]
    assert run(*files, saved(tmp_path / "c.png")) == 0
    assert run.result == "imported 3 documents (5 pages)"
    assert run.said.count('with <Image valueList="$image"> a document would be one task') == 1
    assert [task["data"]["title"] for task in studio.tasks] == [
        *("a.tiff, page 1 of 2", "a.tiff, page 2 of 2", "b.tiff, page 1 of 2", "b.tiff, page 2 of 2", "c.png"),
    ]
    assert [task["meta"]["layoutloop"]["page"] for task in studio.tasks] == [1, 2, 1, 2, 1]
    assert open_page(shown(studio, 3)[0], ImageLimits()).getpixel((30, 30)) == (20, 20, 20)


@pytest.mark.parametrize("config", [pytest.param(LIST, id="valueList"), pytest.param(ONE, id="value")])
def test_running_it_again_adds_nothing(run: Run, studio: Studio, server: _Server, tmp_path: Path, config: str) -> None:
    studio.label_config = config
    files = [saved(tmp_path / "a.pdf", 250, 200), saved(tmp_path / "b.png")]
    assert run(*files) == 0
    tasks = list(studio.tasks)
    server.seen.clear()
    assert run(*files, "--dpi", 100) == 0
    assert run.result == "imported 0 documents (0 pages), 2 were there already"
    assert run.said == ""
    assert studio.tasks == tasks
    assert posts(server) == []


def test_a_page_that_somebody_deleted_stays_away(run: Run, studio: Studio, tmp_path: Path) -> None:
    studio.label_config = ONE
    path = saved(tmp_path / "a.tiff", 250, 200)
    assert run(path) == 0
    del studio.tasks[0]
    assert run(path) == 0
    assert run.result == "imported 0 documents (0 pages), 1 was there already"


def test_many_tasks_are_listed_in_parts(run: Run, studio: Studio, server: _Server, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png")
    assert run(path) == 0
    last = studio.tasks.pop()
    studio.tasks += [
        {"id": number, "meta": meta} for number, meta in enumerate([None, {}, [1], {"layoutloop": 3}] * 300)
    ]
    studio.tasks.append(last)
    server.seen.clear()
    assert run(path) == 0
    assert run.result == "imported 0 documents (0 pages), 1 was there already"
    assert sum("/api/tasks" in one.target for one in server.seen) == 3


def test_the_same_file_twice_is_one_task(run: Run, studio: Studio, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png")
    copy = tmp_path / "copy.png"
    copy.write_bytes(path.read_bytes())
    assert run(path, path, copy) == 0
    assert run.result == "imported 1 document (1 page), 2 were there already"
    assert len(studio.tasks) == 1


def test_a_changed_file_is_a_new_task(run: Run, studio: Studio, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", 200)
    assert run(path) == 0
    assert run(saved(path, 100)) == 0
    assert run.said == (
        f"{path} is not what the project has under this name: it becomes a new task, and the earlier one stays\n"
    )
    assert run.result == "imported 1 document (1 page)"
    assert len(studio.tasks) == 2


def test_a_run_that_broke_off_goes_on(run: Run, studio: Studio, server: _Server, tmp_path: Path) -> None:
    studio.uploads_left = 3
    files = [saved(tmp_path / "a.png"), saved(tmp_path / "b.tiff", 250, 200, 150, 100), saved(tmp_path / "c.png", 50)]
    assert run(*files) == 1
    assert run.result == "imported 1 document (1 page)"
    assert "broke off its answer" in run.said
    assert "The same command, run again, goes on where this one stopped" in run.said
    assert len(studio.tasks) == 1
    studio.uploads_left = None
    server.seen.clear()
    assert run(*files) == 0
    assert run.result == "imported 2 documents (5 pages), 1 was there already"
    assert len(studio.uploads) == 6, "two pages of b.tiff were uploaded before it broke off"
    assert [open_page(data, ImageLimits()).getpixel((30, 30)) for data in shown(studio, 1)] == [
        (shade,) * 3 for shade in (250, 200, 150, 100)
    ]


def test_a_run_that_somebody_stops_says_what_came_of_it(run: Run, studio: Studio, tmp_path: Path) -> None:
    studio.interrupts = True
    path = saved(tmp_path / "a.png")
    # Where a shell runs the tests in the background, they are born deaf to Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert run(path, saved(tmp_path / "b.png", 100)) == 1
    finally:
        signal.signal(signal.SIGINT, before)
    assert run.result == "imported 0 documents (0 pages)"
    assert run.said == "interrupted. The same command, run again, goes on where this one stopped\n"
    assert len(studio.uploads) == 1


def test_an_upload_that_label_studio_lost_is_made_again(run: Run, studio: Studio, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png")
    assert run(path) == 0
    studio.tasks.clear()
    studio.uploads[1]["size"] = None
    assert run(path) == 0
    assert studio.tasks[0]["data"]["pages"] == [f"/data/{studio.uploads[2]['file']}"]


def test_upload_names_are_plain_and_short(run: Run, studio: Studio, tmp_path: Path) -> None:
    name = f"März {'x' * 200} #1 ?.png"
    assert run(saved(tmp_path / name)) == 0
    assert studio.tasks[0]["data"]["title"] == name
    file = studio.uploads[1]["file"]
    assert re.fullmatch(r"upload/7/[0-9a-f]{8}-[A-Za-z0-9-]+\.png", file)
    assert len(file) <= 100 - len("1234567890")


def test_files_that_cannot_be_read_cost_only_themselves(run: Run, studio: Studio, tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[:-9])
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty.pdf").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.png")
    late = tmp_path / "late.tiff"
    Image.new("1", (50, 50)).save(
        late, compression="group4", save_all=True, append_images=[Image.new("1", (20_000, 20_000))]
    )
    assert run(tmp_path / "gone.png", tmp_path) == 1
    assert run.result == "imported 1 document (1 page), 6 could not be read"
    reasons = dict(re.findall(rf"{re.escape(str(tmp_path))}/(\S+) (.*)\n", run.said))
    expected = {
        "gone.png": "cannot be read: No such file or directory",
        "cut.jpg": "cannot be read: the JPEG image is damaged or ends early",
        "empty.pdf": "is empty",
        "late.tiff": "has 20,000 x 20,000 pixels",
        "notes.txt": "cannot be read: these 5 bytes are no image",
        "pipe.png": "is no regular file",
    }
    assert reasons.keys() == expected.keys()
    for name, reason in expected.items():
        assert reasons[name].startswith(reason)
    assert [task["data"]["title"] for task in studio.tasks] == ["whole.jpg"]


def test_pages_are_uploaded_one_by_one(run: Run, studio: Studio, tmp_path: Path) -> None:
    late = tmp_path / "late.tiff"
    page(mode="1").save(late, compression="group4", save_all=True, append_images=[Image.new("1", (20_000, 20_000))])
    assert run(late) == 1
    assert len(studio.uploads) == 1
    assert studio.tasks == []


@pytest.fixture
def unsearchable() -> Iterator[Path]:
    """A folder that may be listed and not searched, also where the tests are root's."""
    with tempfile.TemporaryDirectory() as above:
        os.chmod(above, 0o755)  # noqa: S103
        folder = Path(above, "scans")
        folder.mkdir()
        saved(folder / "a.png")
        folder.chmod(0o444)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            if is_root:
                os.seteuid(0)
            folder.chmod(0o755)


def test_a_folder_that_may_not_be_searched(run: Run, studio: Studio, unsearchable: Path) -> None:
    assert run(unsearchable, unsearchable / "a.png") == 1
    assert run.said == f"{unsearchable / 'a.png'} cannot be read: Permission denied\n" * 2
    assert run.result == "imported 0 documents (0 pages), 2 could not be read"


# The interrupt may come right between the opening of a file and whoever closes it.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_ctrl_c_while_pages_are_counted(run: Run, server: _Server, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tiff")  # no PDF: an interrupt inside PDFium's clean-up would be lost
    for number in range(5000):
        os.link(path, tmp_path / f"{number}.tiff")
    before = signal.signal(signal.SIGVTALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.2)  # seconds of work, so that it is the counting that they are spent on
    try:
        assert run(tmp_path) == 1
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    assert run.said == "interrupted before anything was imported\n"
    assert server.seen == []


def test_a_folder_of_nothing(run: Run, server: _Server, tmp_path: Path) -> None:
    (tmp_path / ".hidden.png").write_bytes(b"")
    assert run(tmp_path) == 1
    assert run.said == "error: these folders hold no files (hidden ones are skipped)\n"
    assert server.seen == []


def test_a_page_that_is_too_large_is_not_uploaded(
    run: Run, studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAYOUTLOOP_MAX_IMAGE_BYTES", "2000")
    noise = Image.effect_noise((100, 100), 80)
    noise.save(tmp_path / "noise.png")
    noise.save(tmp_path / "noise.tiff", save_all=True, append_images=[noise])
    assert run(tmp_path / "noise.png", tmp_path / "noise.tiff", saved(tmp_path / "small.png")) == 1
    assert run.result == "imported 1 document (1 page), 2 could not be read"
    assert re.search(r"/noise\.png has 1.,\d+ bytes as PNG, at most 2,000 are read", run.said)
    assert re.search(r"page 1 of .*/noise\.tiff has 1.,\d+ bytes as PNG", run.said)
    assert "LAYOUTLOOP_MAX_IMAGE_BYTES" in run.said
    assert len(studio.uploads) == 1


@pytest.mark.parametrize("name", ["page.png", "page.tiff"])
def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / name)
    size = path.stat().st_size
    assert list(pages_of(path, max_bytes=size)) == [path.read_bytes()]
    with pytest.raises(
        DocumentUnreadable, match=f"{name} has {size:,} bytes, at most {size - 1:,} of an image are read"
    ):
        list(pages_of(path, max_bytes=size - 1))


def test_a_page_that_is_refused_costs_only_its_document(run: Run, studio: Studio, tmp_path: Path) -> None:
    studio.max_upload_bytes = 5000
    Image.effect_noise((100, 100), 80).save(tmp_path / "noise.png")
    assert run(tmp_path / "noise.png", saved(tmp_path / "small.png")) == 1
    assert run.result == "imported 1 document (1 page), 1 was refused"
    assert re.search(r"page 1 of .*noise\.png \(1.,\d+ bytes\) was refused: .*/import answered 413", run.said)


def test_a_label_config_that_shows_the_title_too(run: Run, studio: Studio, tmp_path: Path) -> None:
    studio.label_config = TITLED
    path = saved(tmp_path / "a.png")
    assert run(path) == 0
    assert shown(studio) == [path.read_bytes()]
    assert len(studio.uploads) == 1


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        pytest.param(ASKS_FOR_MORE, '"text" key is expected in task data', id="asks for data that files have not"),
        pytest.param("<View/>", "has neither <RectangleLabels> on an <Image>", id="without rectangles"),
    ],
)
def test_a_label_config_that_documents_do_not_fit(
    run: Run, studio: Studio, server: _Server, tmp_path: Path, config: str, sentence: str
) -> None:
    studio.label_config = config
    assert run(saved(tmp_path / "a.png"), saved(tmp_path / "b.png", 100)) == 1
    assert sentence in run.said
    assert len(studio.uploads) <= 1, "the next document would fare no better"


@pytest.mark.parametrize(
    ("key", "project", "sentence"),
    [
        pytest.param("wrong", PROJECT, "answered 401: set LABEL_STUDIO_API_KEY", id="the key is refused"),
        pytest.param("", PROJECT, "answered 401: set LABEL_STUDIO_API_KEY", id="no key"),
        pytest.param(LEGACY_KEY, 8, "answered 404: the project does not exist", id="no such project"),
    ],
)
def test_what_label_studio_refuses_is_one_sentence(
    run: Run, server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, project: int, sentence: str
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", key)
    assert run(saved(tmp_path / "a.png"), project=project) == 1
    assert sentence in run.said
    assert posts(server) == []


def test_label_studio_is_away(run: Run, server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.server_close()
    assert run(saved(tmp_path / "a.png")) == 1
    assert "does not take connections" in run.said


def test_the_edition_that_imports_in_the_background(run: Run, studio: Studio, tmp_path: Path) -> None:
    studio.background = True
    assert run(saved(tmp_path / "a.png"), saved(tmp_path / "b.png", 100)) == 1
    assert 'answer has no "file_upload_ids"' in run.said
    assert len(studio.uploads) == 1


def test_label_studio_below_a_prefix(
    run: Run, studio: Studio, server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio.prefix = "/annotate"
    monkeypatch.setenv("LABEL_STUDIO_URL", f"http://127.0.0.1:{server.port}/annotate")
    path = saved(tmp_path / "a.png")
    assert run(path) == 0
    assert studio.tasks[0]["data"]["pages"][0].startswith("/annotate/data/upload/7/")
    assert shown(studio) == [path.read_bytes()]


@pytest.mark.parametrize("dpi", ["0", "3000", "many"])
def test_a_resolution_that_makes_no_sense(dpi: str, run: Run) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("page.pdf", "--dpi", dpi)


TEXT = " ".join(INVOICE)
HIDDEN = lines(INVOICE, extra="3 Tr")


@pytest.mark.parametrize("config", [LIST, ONE], ids=["one task", "a task for each page"])
def test_a_pdfs_own_words_come_with_the_task(run: Run, studio: Studio, tmp_path: Path, config: str) -> None:
    studio.label_config = config
    path = text_pdf(tmp_path / "order.pdf", [lines(INVOICE), HIDDEN, lines(INVOICE)])
    assert run(path, "--dpi", 144) == 0
    assert run.result == ("imported 1 document (3 pages), of 3 pages of PDFs 2 with the file's own words, 1 for OCR")
    assert f"page 2 of {path} is left to OCR: none of its text is visible" in run.said
    shown_words = [one for number in range(len(studio.tasks)) for one in words_shown(studio, number)]
    assert shown_words == [TEXT, None, TEXT]
    assert ["words" in task["data"] for task in studio.tasks] == ([True] if config == LIST else [True, False, True])
    assert run(path, "--dpi", 144) == 0
    assert run.result.startswith("imported 0 documents (0 pages), 1 was there already")


def test_a_pdf_whose_text_says_something_else_is_left_to_ocr(run: Run, studio: Studio, tmp_path: Path) -> None:
    path = mixed_up_pdf(tmp_path / "order.pdf")
    assert run(path, "--dpi", 144) == 0
    assert run.result.endswith("of 1 page of PDFs 0 with the file's own words, 1 for OCR")
    assert f"page 1 of {path} is left to OCR: its text is not what is seen: " in run.said
    assert "words" not in studio.tasks[0]["data"]


def test_words_are_left_to_ocr_where_that_is_wanted_or_their_name_is_taken(
    run: Run, studio: Studio, tmp_path: Path
) -> None:
    path = text_pdf(tmp_path / "order.pdf", [lines(INVOICE)])
    assert run(path, "--ocr", "--dpi", 72) == 0
    assert run.result == "imported 1 document (1 page)"
    assert "words" not in studio.tasks[0]["data"]
    studio.label_config, studio.tasks[:] = LIST.replace("$pages", "$words"), []
    assert run(path, "--dpi", 144) == 0
    assert studio.tasks[0]["data"]["words"][0].endswith(".png")


def test_an_encrypted_pdf_and_one_of_too_many_pages_hurt_no_other(run: Run, studio: Studio, tmp_path: Path) -> None:
    encrypted = encrypted_pdf(tmp_path / "a.pdf")
    long = text_pdf(tmp_path / "b.pdf", [lines(INVOICE)] * 2001)
    assert run(encrypted, long, text_pdf(tmp_path / "c.pdf", [lines(INVOICE)]), "--dpi", 144) == 1
    assert run.result == (
        "imported 1 document (1 page), of 1 page of PDFs 1 with the file's own words, 0 for OCR, 2 could not be read"
    )
    assert f"{encrypted} cannot be read: it is encrypted and opens only with a password; save a copy" in run.said
    assert f"{long} has 2,001 pages, at most 2,000 are split; make several documents of it" in run.said
    assert words_shown(studio) == [TEXT]
