"""Which scripts does each OCR engine read, and are its words joined as the script is written?

`python -m benchmarks.ocr_scripts [--fonts DIR] [--languages tha,kor]` renders lines of invoices in Debian's fonts
(`apt-get install fonts-noto-core fonts-noto-cjk`), reads them with each engine, and prints a Markdown table. Tesseract
reads what it has installed (`apt-get install tesseract-ocr-all`, or `TESSDATA_PREFIX`). Clean print, in three sizes:
what is not read here is not read on a scan either; what is read here may still be lost there.

Letters: share of the lines' letters and digits that are read, in their order. Spaces: of neighbouring letters that are
both read, the share that has a space between them in the joined text exactly where the line has one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from benchmarks.timing import machine
from handler.errors import OcrFailed
from handler.joining import join_words
from handler.ocr_settings import OcrSettings
from handler.page import Word
from handler.reading.engines import OcrEngine, make_engine

SIZES = (24, 32, 44)
"""Pixels of the letters: about 9, 12 and 16 points at 200 dpi."""
TOP, STEP, MARGIN, WIDTH = 60, 110, 60, 1300
CJK, NOTO = "NotoSansCJK-Regular.ttc", "NotoSans{}-Regular.ttf"


@dataclass(frozen=True, slots=True)
class Sample:
    """Lines of one language.

    Args:
        language: Tesseract's name.
        script: for the table.
        font: file name.
        lines: as they are written.
        index: of the font in a collection.
    """

    language: str
    script: str
    font: str
    lines: tuple[str, ...]
    index: int = 0


SAMPLES = (
    Sample(
        "deu",
        "Latin (German)",
        NOTO.format(""),
        (
            "Rechnung Nr. 2026-0417 vom 30. November 2026",
            "Größe: fünf Stück, geprüft für Müller & Söhne",
            "Zahlbar innerhalb von 14 Tagen ohne Abzug",
            "Gesamtbetrag 1.250,00 EUR zzgl. 19 % MwSt.",
        ),
    ),
    Sample(
        "vie",
        "Latin (Vietnamese)",
        NOTO.format(""),
        (
            "Hóa đơn giá trị gia tăng số 0001234",
            "Ngày 30 tháng 11 năm 2026",
            "Tổng cộng tiền thanh toán: 1.250.000 đồng",
            "Người mua hàng ký và ghi rõ họ tên",
        ),
    ),
    Sample(
        "rus",
        "Cyrillic (Russian)",
        NOTO.format(""),
        (
            "Счёт на оплату № 123 от 30 ноября 2026 г.",
            "Поставщик: ООО Ромашка, город Москва",
            "Итого к оплате 12 500,00 руб.",
            "Всего наименований 4 на сумму указанную выше",
        ),
    ),
    Sample(
        "ell",
        "Greek",
        NOTO.format(""),
        (
            "Τιμολόγιο πώλησης 123 στις 30 Νοεμβρίου 2026",
            "Σύνολο πληρωμής 1.250,00 ευρώ",
            "Διεύθυνση αποστολής και επωνυμία πελάτη",
        ),
    ),
    Sample(
        "chi_sim",
        "Han, simplified",
        CJK,
        (
            "发票号码 No. 123",
            "发票号码：12345678",
            "开票日期2026年11月30日",
            "共12页合计金额",
            "合计金额 Total 99.00 元",
            "销售方名称北京科技有限公司",
            "USB接口的电脑，价格为300元。",
            "增值税专用发票（发票联）",
        ),
        2,
    ),
    Sample(
        "chi_tra",
        "Han, traditional",
        CJK,
        (
            "發票號碼 No. 123",
            "統一編號：12345678",
            "中華民國115年11月30日",
            "總計新臺幣12,500元整",
            "買受人名稱臺北科技股份有限公司",
            "付款條件 Net 30 天",
        ),
        3,
    ),
    Sample(
        "jpn",
        "Han and kana (Japanese)",
        CJK,
        (
            "請求書番号 No. 123",
            "請求日：2026年11月30日",
            "株式会社サンプル",
            "合計金額12,500円（税込）",
            "お支払いは月末までにお願いします。",
            "振込先 ABC 銀行",
            "カタカナとひらがなの文章です。",
        ),
    ),
    Sample(
        "kor",
        "Hangul (Korean)",
        CJK,
        (
            "청구서 번호 No. 123",
            "합계 금액 12,500원",
            "주식회사 한국 전자 귀중",
            "발행일 2026년 11월 30일",
            "서울특별시 강남구 테헤란로 12",
        ),
        1,
    ),
    Sample(
        "tha",
        "Thai",
        NOTO.format("Thai"),
        (
            "ใบแจ้งหนี้เลขที่ 123",
            "วันที่ออกใบกำกับภาษี",
            "ยอดรวมทั้งหมด 1,250.00 บาท",
            "บริษัทตัวอย่างจำกัด",
            "ที่อยู่กรุงเทพมหานคร 10110",
        ),
    ),
    Sample(
        "khm",
        "Khmer",
        NOTO.format("Khmer"),
        ("វិក្កយបត្រលេខ 123", "ចំនួនទឹកប្រាក់សរុប", "ក្រុមហ៊ុនភ្នំពេញ"),
    ),
    Sample(
        "ara",
        "Arabic",
        NOTO.format("Arabic"),
        (
            "رقم الفاتورة 12345",
            "تاريخ الإصدار 30 نوفمبر 2026",
            "المبلغ الإجمالي المستحق",
            "شركة المثال للتجارة المحدودة",
        ),
    ),
    Sample(
        "heb",
        "Hebrew",
        NOTO.format("Hebrew"),
        ("מספר חשבונית 12345", "סכום לתשלום 1250.00", "תאריך הוצאת החשבון", "חברת הדוגמה בערבון מוגבל"),
    ),
    Sample(
        "hin",
        "Devanagari (Hindi)",
        NOTO.format("Devanagari"),
        ("चालान संख्या 12345", "कुल राशि 1,250.00 रुपये", "ग्राहक का नाम और पता", "भुगतान की अंतिम तिथि"),
    ),
    Sample(
        "ben",
        "Bengali",
        NOTO.format("Bengali"),
        ("চালান নম্বর 12345", "মোট টাকার পরিমাণ", "গ্রাহকের নাম ও ঠিকানা"),
    ),
)


def render(sample: Sample, font_file: Path, size: int) -> Image.Image:
    """Return the lines below one another, those of right-to-left scripts from the right edge."""
    font = ImageFont.truetype(str(font_file), size, index=sample.index)
    image = Image.new("RGB", (WIDTH, 2 * TOP + STEP * len(sample.lines)), "white")
    draw = ImageDraw.Draw(image)
    is_right = sample.language in ("ara", "heb")
    place, anchor = (WIDTH - MARGIN, "ra") if is_right else (MARGIN, "la")
    for number, line in enumerate(sample.lines):
        draw.text((place, TOP + STEP * number), line, "black", font, anchor, direction="rtl" if is_right else "ltr")
    return image


def read_lines(engine: OcrEngine, image: Image.Image, count: int) -> list[str]:
    """Return the joined text of each line's words."""
    words: list[list[Word]] = [[] for _ in range(count)]
    for word in engine.read(image).words:
        row = int(((word.box.top + word.box.bottom) / 2 - TOP + STEP / 4) // STEP)
        words[min(max(row, 0), count - 1)].append(word)
    return [join_words(row) for row in words]


def letters(text: str) -> tuple[str, list[bool]]:
    """Return the letters and digits of a text, each followed by a space or not, and what stands between them."""
    found, spaced = "", []
    for part in text.split():
        for character in part:
            if character.isalnum() or not character.isascii():
                found += character
                spaced.append(False)
        if spaced:
            spaced[-1] = True
    return found, spaced


def compare(truth: str, read: str) -> tuple[int, int, int, int]:
    """Return how many letters are read, of how many; and how many spaces are as they should be, of how many places."""
    (letters_a, spaced_a), (letters_b, spaced_b) = letters(truth), letters(read)
    blocks = SequenceMatcher(None, letters_a, letters_b, autojunk=False).get_matching_blocks()
    right = of_all = 0
    for block in blocks:
        for place in range(block.size - 1):
            of_all += 1
            right += spaced_a[block.a + place] == spaced_b[block.b + place]
    return sum(block.size for block in blocks), len(letters_a), right, of_all


def measure(sample: Sample, font_file: Path, engine: OcrEngine) -> tuple[float, float]:
    """Return the shares of letters and of spaces that are right, over all sizes."""
    counts = [0, 0, 0, 0]
    for size in SIZES:
        read = read_lines(engine, render(sample, font_file, size), len(sample.lines))
        for truth, line in zip(sample.lines, read, strict=True):
            counts = [sum(pair) for pair in zip(counts, compare(truth, line), strict=True)]
    return counts[0] / counts[1], counts[2] / max(1, counts[3])


def cells(sample: Sample, font_file: Path, kind: str) -> list[str]:
    """Return what an engine makes of a sample; why it does not read it, where it does not."""
    try:
        engine = make_engine(OcrSettings(kind, language=sample.language, psm=3))
    except OcrFailed as error:
        return ["refused" if "does not read" in str(error) else "not installed", ""]
    read, spaced = measure(sample, font_file, engine)
    return [f"{read:.0%}", f"{spaced:.0%}"]


def rows(fonts: Path, languages: Sequence[str]) -> Iterator[list[str]]:
    """Yield the rows of the table."""
    for sample in SAMPLES:
        if languages and sample.language not in languages:
            continue
        font_file = next(fonts.rglob(sample.font), None)
        if font_file is None:
            raise SystemExit(f"no {sample.font} below {fonts}: `apt-get install fonts-noto-core fonts-noto-cjk`")
        yield [
            sample.script,
            sample.language,
            *cells(sample, font_file, "rapidocr"),
            *cells(sample, font_file, "pytesseract"),
        ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"), metavar="DIR")
    parser.add_argument("--languages", default="", help="separated by commas (default: all)")
    options = parser.parse_args()
    print(machine())
    print("| script | language | rapidocr: letters | spaces | Tesseract: letters | spaces |\n|---|---|---|---|---|---|")
    for row in rows(options.fonts, [name for name in options.languages.split(",") if name]):
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
