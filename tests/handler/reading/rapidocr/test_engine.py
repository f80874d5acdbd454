from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import matplotlib
import pytest
from PIL import Image, ImageDraw, ImageFont

from handler.errors import HandlerError, OcrFailed, OcrLanguageMissing, OcrTimeout, RequestInvalid
from handler.images import ImageLimits, open_page
from handler.ocr_settings import OcrSettings
from handler.page import Word
from handler.reading.engines import make_engine
from handler.reading.rapidocr.engine import RapidOcrEngine
from tests.handler.samples import DOCBANK, INVOICE_LINES, SHORT_PAGE, rendered_page

ROOT = Path(__file__).parents[4]
WORDS = " ".join(INVOICE_LINES).split()
NOISE = Image.effect_noise((700, 700), 90).convert("RGB")


@pytest.fixture(scope="module")
def engine() -> RapidOcrEngine:
    return RapidOcrEngine(OcrSettings("rapidocr", timeout_s=120))


def texts(words: tuple[Word, ...]) -> list[str]:
    return [word.text for word in words]


def printed(size: tuple[int, int], *marks: tuple[int, int, str], height: int = 24) -> Image.Image:
    """Return a white page with texts at places."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for x, y, text in marks:
        draw.text((x, y), text, fill="black", font=ImageFont.load_default(height))
    return image


@pytest.mark.parametrize(
    "turn",
    [
        pytest.param(Image.Transpose.ROTATE_90, id="on its left side"),
        pytest.param(Image.Transpose.ROTATE_180, id="upside down"),
        pytest.param(Image.Transpose.ROTATE_270, id="on its right side"),
    ],
)
def test_a_turned_page_is_read_as_its_text_runs(engine: RapidOcrEngine, turn: Image.Transpose) -> None:
    page = rendered_page().transpose(turn)
    words = engine.read(page).words
    assert texts(words) == WORDS
    assert [word.line for word in words] == [0] * 3 + [1] * 4 + [2] * 4 + [3] * 4
    first = words[0].box
    assert 0 <= first.left < first.right <= page.width
    assert (first.right - first.left > first.bottom - first.top) is (turn is Image.Transpose.ROTATE_180)


def test_columns_are_read_one_after_the_other(engine: RapidOcrEngine) -> None:
    left = [f"The left column goes on in line {number}" for number in range(8)]
    right = [f"Then comes the right one, line {number}" for number in range(8)]
    marks = [(60, 150 + 40 * n, text) for n, text in enumerate(left)]
    marks += [(640, 160 + 40 * n, text) for n, text in enumerate(right)]
    page = printed((1200, 600), (60, 60, "A heading that runs above both of the columns of this page"), *marks)
    assert texts(engine.read(page).words)[-len(" ".join(left + right).split()) :] == " ".join(left + right).split()


def test_lines_of_a_page_share_a_batch_as_on_a_gpu(engine: RapidOcrEngine) -> None:
    batched = RapidOcrEngine(OcrSettings("rapidocr", timeout_s=120))
    batched._batch_pixels = 4000
    real = open_page((DOCBANK / f"{SHORT_PAGE}_ori.jpg").read_bytes(), ImageLimits())
    assert texts(batched.read(rendered_page()).words) == WORDS
    together, alone = texts(batched.read(real).words), texts(engine.read(real).words)
    assert sum(a == b for a, b in zip(together, alone, strict=True)) >= 0.99 * len(alone)


def test_the_time_limit_ends_the_reading() -> None:
    short = RapidOcrEngine(OcrSettings("rapidocr", timeout_s=0.01))
    sentence = r"longer than 0\.01 s .*: of its 4 lines of text 0 were read; split or crop the page, or set LAYOUT"
    with pytest.raises(OcrTimeout, match=sentence):
        short.read(rendered_page())


def test_a_page_that_takes_too_long_costs_the_next_nothing() -> None:
    slow = RapidOcrEngine(OcrSettings("rapidocr", timeout_s=120))
    alone = rendered_page()
    for page in (alone, NOISE):  # compiled for both
        slow.read(page)
    started = time.perf_counter()
    slow.read(alone)
    slow._settings = OcrSettings("rapidocr", timeout_s=5 * (time.perf_counter() - started))
    many = printed((1600, 1200), *((20 + 200 * (n % 8), 8 + 29 * (n // 8), f"word {n}") for n in range(320)))
    with pytest.raises(OcrTimeout, match="longer than"):
        slow.read(many)
    assert texts(slow.read(alone).words) == WORDS


SHORT_OF_MEMORY = """
import resource
from PIL import Image
from handler.errors import MachineFailed
from handler.ocr_settings import OcrSettings
from handler.reading.rapidocr.engine import RapidOcrEngine
from tests.handler.samples import rendered_page
engine = RapidOcrEngine(OcrSettings("rapidocr", timeout_s=120))
small, large = rendered_page(), Image.effect_noise((6000, 8000), 90).convert("RGB")
print(len(engine.read(small).words))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
for more in (20, 60, 250, 450):
    resource.setrlimit(resource.RLIMIT_AS, (used + more * 2**20, resource.RLIM_INFINITY))
    try:
        print("read", engine.read(large))
    except MachineFailed as error:
        print(" ".join(str(error).split()))
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(len(engine.read(small).words))
"""


def test_too_little_memory_is_the_machines_error_and_the_next_page_is_read() -> None:
    """Really too little, in a process of its own: Pillow, OpenCV or the network fails, whichever comes first."""
    run = subprocess.run([sys.executable, "-c", SHORT_OF_MEMORY], capture_output=True, text=True, check=True, cwd=ROOT)
    first, *lines = run.stdout.splitlines()
    large, small = lines[::2], lines[1::2]
    assert [first, *small] == ["15"] * 5
    assert all(
        re.fullmatch(r"the machine could not do this: \S.*; give it more memory.*|read .*", line) for line in large
    )
    assert large[0].startswith("the machine could not do this: ")


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(Image.new("RGB", (1, 1)), id="1 x 1"),
        pytest.param(Image.new("RGB", (1700, 2200), "white"), id="blank"),
        pytest.param(Image.new("RGB", (700, 700), "black"), id="black"),
        pytest.param(Image.new("RGB", (32_000, 1), "white"), id="one row of 32,000 pixels"),
        pytest.param(Image.new("RGB", (1, 32_000), "white"), id="one column of 32,000 pixels"),
        pytest.param(Image.new("RGB", (40_000, 1200), "white"), id="wider than Tesseract takes"),
    ],
)
def test_a_page_without_words(engine: RapidOcrEngine, image: Image.Image) -> None:
    assert engine.read(image).words == ()


def test_a_giant_line_is_read_to_its_end(engine: RapidOcrEngine) -> None:
    count = 60
    page = printed((8000, 60), *((20 + 130 * n, 14, f"word{n}") for n in range(count)))
    words = engine.read(page).words
    read = texts(words)
    assert sum(a == f"word{n}" for n, a in enumerate(read)) >= count - 2
    assert len(read) == count
    lefts = [word.box.left for word in words]
    assert lefts == sorted(lefts)


def test_a_long_receipt_is_read_to_its_end(engine: RapidOcrEngine) -> None:
    rows = range(100, 24_000, 300)
    page = printed((900, 24_000), *((80, row, f"Row number {row} of a long receipt") for row in rows), height=30)
    words = engine.read(page).words
    assert {str(row) for row in rows} <= set(texts(words))
    assert [word.box.top for word in words if word.text == "Row"] == pytest.approx([row + 8 for row in rows], abs=8)


def test_small_print_of_a_large_page_is_looked_at_again(engine: RapidOcrEngine) -> None:
    places = [(100 + 700 * column, 20 + 60 * row) for column in range(7) for row in range(60)]
    page = printed((5000, 3700), *((x, y, f"{x}a{y}") for x, y in places), height=20)
    assert len({f"{x}a{y}" for x, y in places} & set(texts(engine.read(page).words))) >= 0.98 * len(places)


def test_more_lines_than_the_package_takes(engine: RapidOcrEngine) -> None:
    places = [(20 + 100 * column, 6 + 24 * row) for column in range(15) for row in range(80)]
    page = printed((1520, 1940), *((x, y, f"{x + y}") for x, y in places), height=18)
    words = engine.read(page).words
    assert len({word.line for word in words}) >= 1180, "of 1,200; the package drops all beyond 1,000"


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        pytest.param({"psm": 6}, RequestInvalid, "psm 6 is a mode of Tesseract.*set psm 3, or engine pytesseract"),
        pytest.param({"language": "rus"}, OcrLanguageMissing, "does not read rus; set engine pytesseract.*ocr-rus`"),
        pytest.param({"language": "eng+ara"}, OcrLanguageMissing, "does not read ara; .*reads afr, aze"),
        pytest.param({"language": "vie"}, OcrLanguageMissing, "does not read vie"),
    ],
)
def test_what_only_tesseract_reads(settings: dict[str, object], error: type[HandlerError], message: str) -> None:
    with pytest.raises(error, match=message):
        make_engine(OcrSettings("rapidocr", **settings))


@pytest.mark.parametrize(
    ("language", "lines"),
    [
        pytest.param("deu", ("Größe: fünf Äpfel", "Öl für Straßenbau"), id="German"),
        pytest.param("fra+spa", ("déjà reçu à Besançon", "El niño comió piñas"), id="French and Spanish"),
        pytest.param("pol", ("Książka i źródło łąki",), id="Polish"),
    ],
)
def test_languages_with_latin_letters(language: str, lines: tuple[str, ...]) -> None:
    font = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), 40)
    page = Image.new("RGB", (900, 300), "white")
    for row, line in enumerate(lines):
        ImageDraw.Draw(page).text((60, 60 + 90 * row), line, fill="black", font=font)
    words = make_engine(OcrSettings("rapidocr", language=language)).read(page).words
    assert texts(words) == " ".join(lines).split()


def test_the_name_says_what_decides_the_words(engine: RapidOcrEngine) -> None:
    assert engine.name == "rapidocr-3.10.0-eng-psm3"
    assert make_engine(OcrSettings("rapidocr", language="deu+eng", psm=1)).name == "rapidocr-3.10.0-deu+eng-psm1"


def test_a_gpu_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OcrFailed, match="onnxruntime"):
        RapidOcrEngine(OcrSettings("rapidocr", device="gpu"))


def test_nothing_is_downloaded_and_nobody_is_told(tmp_path: Path) -> None:
    """The package's own code would fetch models, and OpenVINO's import sends an event to its maker."""
    program = (
        "import sys\n"
        "calls = []\n"
        "sys.addaudithook(lambda event, _: calls.append(event) if event.startswith('socket.') else None)\n"
        "from handler.ocr_settings import OcrSettings; from handler.reading.engines import make_engine\n"
        "from tests.handler.samples import rendered_page\n"
        "assert len(make_engine(OcrSettings('rapidocr')).read(rendered_page()).words) == 15\n"
        "print(calls, [name for name in sys.modules if name.partition('.')[0] == 'rapidocr'])"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    environment = {**os.environ, "HOME": str(tmp_path)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[] []"
    assert list(tmp_path.iterdir()) == []
