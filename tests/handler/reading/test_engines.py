from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from difflib import SequenceMatcher
from pathlib import Path

import pytest
from PIL import Image

from handler.errors import HandlerError, ImageTooLarge, OcrFailed, OcrLanguageMissing, OcrTimeout, RequestInvalid
from handler.images import ImageLimits, open_page
from handler.ocr_settings import OcrSettings
from handler.page import Box, Size, Word
from handler.reading.engines import OcrEngine, make_engine
from handler.reading.tesseract import parse_tsv, tessdata_folder
from tests.handler.image_files import CASES
from tests.handler.samples import DOCBANK, INVOICE_LINES, SHORT_PAGE, docbank_page, encoded, rendered_page

TESSERACT = ("pytesseract", "tesserocr")
NOISE = Image.effect_noise((700, 700), 90).convert("RGB")


@pytest.fixture(scope="module", params=TESSERACT)
def engine(request: pytest.FixtureRequest) -> OcrEngine:
    return make_engine(OcrSettings(engine=request.param))


def likeness(read: tuple[Word, ...], words: list[str]) -> float:
    return likeness_of([word.text for word in read], words)


def likeness_of(one: list[str], other: list[str]) -> float:
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


def test_a_rendered_page_is_read(engine: OcrEngine) -> None:
    words = engine.read(rendered_page()).words
    assert [word.text for word in words] == " ".join(INVOICE_LINES).split()
    assert [word.line for word in words] == [index for index, line in enumerate(INVOICE_LINES) for _ in line.split()]
    assert all(0.5 < word.confidence <= 1 for word in words)
    assert all(60 + 90 * word.line <= word.box.top < word.box.bottom <= 120 + 90 * word.line for word in words)
    assert all(55 <= word.box.left < word.box.right <= 800 for word in words)


@pytest.mark.parametrize(
    ("mode", "format", "options"),
    [
        pytest.param("1", "TIFF", {"compression": "group4", "dpi": (300, 300)}, id="fax"),
        pytest.param("L", "TIFF", {"compression": "tiff_lzw", "dpi": (50, 50)}, id="LZW"),
        pytest.param("L", "TIFF", {"compression": "jpeg", "quality": 10}, id="JPEG in TIFF"),
        pytest.param("RGB", "JPEG", {"quality": 10, "dpi": (600, 600)}, id="JPEG"),
    ],
)
def test_only_pixels_and_resolution_of_a_scan_count(
    engine: OcrEngine, mode: str, format: str, options: Mapping[str, object]
) -> None:
    scan = open_page(encoded(rendered_page().convert(mode), format, **options), ImageLimits())
    pixels = Image.frombytes("RGB", scan.size, scan.tobytes())
    pixels.info = {"dpi": options.get("dpi", (0, 0))}
    words = engine.read(scan).words
    assert len(words) == 15
    assert words == engine.read(pixels).words


TABLE = CASES / "resolution"


def test_a_ruled_table_is_read_at_its_resolution(engine: OcrEngine) -> None:
    read = engine.read(open_page((TABLE / "table_150.png").read_bytes(), ImageLimits())).words
    assert [word.text for word in read] == program(TABLE / "table_150.png")
    assert len(read) == 147


@pytest.mark.parametrize(
    ("format", "dpi"),
    [
        pytest.param("JPEG", 150, id="JPEG"),
        pytest.param("TIFF", 150, id="TIFF"),
        pytest.param("BMP", 150, id="BMP"),
        pytest.param("PNG", 72, id="72"),
    ],
)
def test_a_resolution_means_what_it_means_to_the_tesseract_program(
    engine: OcrEngine, tmp_path: Path, format: str, dpi: int
) -> None:
    file = table_at(dpi, tmp_path / f"table.{format.lower()}")
    read = [word.text for word in engine.read(open_page(file.read_bytes(), ImageLimits())).words]
    assert likeness_of(read, program(file)) > 0.9, "the engine's and the program's versions differ"
    assert (len(read) == 147) == (dpi == 150)


@pytest.mark.parametrize("dpi", [1, 69, 2401, 9999])
def test_a_resolution_that_nobody_can_mean_is_none(engine: OcrEngine, tmp_path: Path, dpi: int) -> None:
    table = open_page(table_at(dpi, tmp_path / "table.png").read_bytes(), ImageLimits())
    without = open_page((TABLE / "table_None.png").read_bytes(), ImageLimits())
    assert round(table.info["dpi"][1]) == dpi
    assert engine.read(table).words == engine.read(without).words


def table_at(dpi: int, file: Path) -> Path:
    with Image.open(TABLE / "table_None.png") as table:
        table.save(file, dpi=(dpi, dpi))
    return file


def program(file: Path) -> list[str]:
    """What the tesseract program reads of a file, without anything in between."""
    ran = subprocess.run(["tesseract", str(file), "-", "tsv"], capture_output=True, text=True, check=True)
    return [word.text for word in parse_tsv(ran.stdout)]


def test_both_engines_read_a_real_page_alike() -> None:
    image = open_page((DOCBANK / f"{SHORT_PAGE}_ori.jpg").read_bytes(), ImageLimits())
    first, second = (make_engine(OcrSettings(engine=name)).read(image).words for name in TESSERACT)
    assert likeness(first, [word.text for word in second]) > 0.95
    published = [word.text for word in docbank_page(SHORT_PAGE, Size(*image.size)).words]
    assert likeness(first, published) > 0.8, "a fifth of this page is formulas"


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(Image.new("RGB", (600, 400), "white"), id="P10 blank"),
        pytest.param(Image.new("RGB", (600, 400), "black"), id="P10 black"),
        pytest.param(Image.new("RGB", (1, 1)), id="P10 1 x 1"),
        pytest.param(Image.new("RGB", (2, 900), "white"), id="P10 very narrow"),
        pytest.param(Image.new("RGB", (32_767, 20), "white"), id="P10 as wide as Tesseract reads"),
    ],
)
def test_a_page_without_words(engine: OcrEngine, image: Image.Image) -> None:
    assert engine.read(image).words == ()
    assert len(engine.read(rendered_page()).words) == 15, "the next page is read as ever"


@pytest.mark.parametrize("size", [(32_768, 20), (2, 40_000)], ids=["too wide", "too tall"])
def test_a_side_longer_than_tesseract_reads(engine: OcrEngine, size: tuple[int, int]) -> None:
    with pytest.raises(ImageTooLarge, match=f"{size[0]} x {size[1]} pixels, Tesseract reads at most 32,767"):
        engine.read(Image.new("RGB", size, "white"))


@pytest.mark.parametrize("name", TESSERACT)
@pytest.mark.parametrize("timeout_s", [0.01, 1e-6], ids=["10 ms", "less than a millisecond"])
def test_the_time_limit_is_kept(name: str, timeout_s: float) -> None:
    engine = make_engine(OcrSettings(engine=name, timeout_s=timeout_s))
    with pytest.raises(OcrTimeout, match=f"longer than {timeout_s:g} s") as raised:
        engine.read(NOISE)
    assert raised.value.status == 504


@pytest.mark.parametrize("name", TESSERACT)
@pytest.mark.parametrize(
    ("language", "message"),
    [
        pytest.param("tlh", "no language tlh, only .*eng.*; `apt-get install tesseract-ocr-tlh`", id="one"),
        pytest.param("eng+tlh", "no language tlh", id="the second"),
        pytest.param("chi_xyz", "tesseract-ocr-chi-xyz`", id="Debian's spelling"),
    ],
)
def test_a_missing_language(name: str, language: str, message: str) -> None:
    with pytest.raises(OcrLanguageMissing, match=message) as raised:
        make_engine(OcrSettings(engine=name, language=language))
    assert raised.value.status == 422


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param(
            {"engine": "abbyy"}, "engine is one of rapidocr, pytesseract, tesserocr, got 'abbyy'", id="engine"
        ),
        pytest.param({"language": ""}, "language is like `eng` or `deu\\+eng`, got ''", id="language empty"),
        pytest.param({"language": "../x"}, "language is like", id="language a path"),
        pytest.param({"language": "eng;rm"}, "language is like", id="language a command"),
        pytest.param({"language": "eng --psm 6"}, "language is like", id="language an option"),
        pytest.param({"language": "eng+"}, "language is like", id="language half"),
        pytest.param({"language": "_"}, "language is like", id="language only a line"),
        pytest.param({"language": "größe"}, "language is like", id="language not ASCII"),
        pytest.param({"psm": 0}, "psm is one of .*, got 0", id="psm without words"),
        pytest.param({"psm": 14}, "psm is one of", id="psm too high"),
        pytest.param({"psm": -1}, "psm is one of", id="psm negative"),
        pytest.param({"timeout_s": 0}, "timeout_s is above 0 and at most an hour, got 0", id="no time"),
        pytest.param({"timeout_s": float("nan")}, "timeout_s is above 0", id="time not a number"),
        pytest.param({"timeout_s": float("inf")}, "timeout_s is above 0", id="time without end"),
    ],
)
def test_settings_without_meaning_are_refused(settings: Mapping[str, object], message: str) -> None:
    with pytest.raises(RequestInvalid, match=message):
        OcrSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "ending"),
    [
        pytest.param({}, "-eng-psm3", id="default"),
        pytest.param({"psm": 6}, "-eng-psm6", id="mode"),
        pytest.param({"language": "eng+osd"}, "-eng+osd-psm3", id="languages"),
    ],
)
@pytest.mark.parametrize("name", TESSERACT)
def test_the_name_says_what_decides_the_words(name: str, settings: Mapping[str, object], ending: str) -> None:
    engine = make_engine(OcrSettings(engine=name, **settings))
    assert engine.name.startswith(f"{name}-5.")
    assert engine.name.endswith(ending)


ROW = "5\t1\t2\t1\t3\t1\t10\t20\t30\t40\t96.5\tTotal\n"
WORD = Word("Total", Box(10, 20, 40, 60), 0.965, 0)


@pytest.mark.parametrize(
    ("tsv", "words"),
    [
        pytest.param("", (), id="nothing"),
        pytest.param(ROW, (WORD,), id="without header"),
        pytest.param("level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\n" + ROW, (WORD,), id="with header"),
        pytest.param(ROW.removesuffix("\n"), (WORD,), id="no last newline"),
        pytest.param(ROW.replace("\n", "\r\n"), (WORD,), id="Windows line ends"),
        pytest.param("4" + ROW[1:], (), id="a line is no word"),
        pytest.param(ROW.replace("Total", " "), (), id="P9 blank word"),
        pytest.param(ROW.replace("Total", ""), (), id="P9 empty word"),
        pytest.param(ROW.replace("\tTotal", ""), (), id="a column short"),
        pytest.param(ROW.replace("Total", '"'), (Word('"', WORD.box, 0.965),), id="a quotation mark is a word"),
        pytest.param(ROW.replace("Total", '"a" b'), (Word('"a" b', WORD.box, 0.965),), id="quotation marks inside"),
        pytest.param(ROW.replace("Total", "Größe€"), (Word("Größe€", WORD.box, 0.965),), id="not ASCII"),
        pytest.param(ROW.replace("96.5", "-1"), (Word("Total", WORD.box, 0.0),), id="no confidence"),
        pytest.param(ROW.replace("96.5", "100.01"), (Word("Total", WORD.box, 1.0),), id="confidence rounded up"),
        pytest.param(ROW.replace("30\t40", "0\t0"), (Word("Total", Box(10, 20, 10, 20), 0.965),), id="P3 zero area"),
        pytest.param(ROW + ROW, (WORD, WORD), id="P11 the same word twice"),
    ],
)
def test_parse_tsv(tsv: str, words: tuple[Word, ...]) -> None:
    assert parse_tsv(tsv) == words


def test_lines_are_counted_over_the_page() -> None:
    places = [(1, 1, 1), (1, 1, 1), (1, 1, 2), (1, 2, 1), (2, 1, 1), (1, 1, 1)]
    rows = "".join(f"5\t1\t{block}\t{paragraph}\t{line}\t1\t0\t0\t9\t9\t90\tx\n" for block, paragraph, line in places)
    assert [word.line for word in parse_tsv(rows)] == [0, 0, 1, 2, 3, 0]


def in_a_fresh_process(code: str, **environment: str) -> str:
    kept = {key: value for key, value in os.environ.items() if key != "OMP_THREAD_LIMIT"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=True).stdout.strip()


MAKE = """
import os
from handler.errors import HandlerError
from handler.ocr_settings import OcrSettings
from handler.reading.engines import make_engine
try:
    make_engine(OcrSettings(engine={engine!r}))
    print(os.environ.get("OMP_THREAD_LIMIT"))
except HandlerError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("environment", "limit"),
    [
        pytest.param({}, "1", id="one thread"),
        pytest.param({"OMP_THREAD_LIMIT": "2"}, "2", id="a person's choice stays"),
    ],
)
def test_the_tesseract_program_runs_one_thread(environment: dict[str, str], limit: str) -> None:
    assert in_a_fresh_process(MAKE.format(engine="pytesseract"), **environment) == limit


def test_no_tesseract_program(tmp_path: Path) -> None:
    said = in_a_fresh_process(MAKE.format(engine="pytesseract"), PATH=str(tmp_path))
    assert said == "OcrFailed the tesseract program is not on PATH; `apt-get install tesseract-ocr`"


def test_no_language_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path))
    with pytest.raises(OcrFailed, match=r"no \*\.traineddata in .*; set TESSDATA_PREFIX"):
        make_engine(OcrSettings(engine="tesserocr"))


def test_language_data_of_a_named_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "eng.traineddata").symlink_to(tessdata_folder() / "eng.traineddata")
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path))
    assert tessdata_folder() == tmp_path
    assert make_engine(OcrSettings(engine="tesserocr")).read(rendered_page()).words[0].text == "Invoice"
    with pytest.raises(OcrLanguageMissing, match="no language osd, only eng;"):
        make_engine(OcrSettings(engine="tesserocr", language="osd"))


@pytest.mark.parametrize("error", [OcrFailed, OcrLanguageMissing, OcrTimeout])
def test_every_ocr_error_is_one_items_error(error: type[HandlerError]) -> None:
    assert issubclass(error, OcrFailed)
    assert error.code.startswith("ocr_")
