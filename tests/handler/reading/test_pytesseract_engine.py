from __future__ import annotations

import subprocess
import sys

from layoutloop.settings.node import REPOSITORY

NO_FILES = """
import resource, signal
from handler.ocr_settings import OcrSettings
from handler.reading.engines import make_engine
from tests.handler.samples import rendered_page
engine = make_engine(OcrSettings(engine="pytesseract"))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
print(len(engine.read(rendered_page()).words))
"""


def test_a_page_is_read_where_no_file_can_be_written() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", NO_FILES], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.stdout.split() == ["15"], ran.stderr
