"""Names of environment variables that are no setting's own: read elsewhere, other spellings, gone."""

from __future__ import annotations

from layoutloop.studio.api_key_file import KEY_VARIABLE

READ_ELSEWHERE = frozenset(
    {
        "LAYOUTLOOP_VENV",  # scripts/setup.sh
        "LAYOUTLOOP_LABEL_STUDIO_VENV",  # scripts/setup.sh and the demo
        "LAYOUTLOOP_CHROMIUM",  # the tests
        "LAYOUTLOOP_CACHE_DIR",  # handler/ocr_handler.py
        "LAYOUTLOOP_CACHE_BYTES",
        "LAYOUTLOOP_OCR_ENGINE",  # scripts/archive.py
        "LAYOUTLOOP_OCR_DEVICE",
        "LAYOUTLOOP_OCR_LANGUAGE",
        "LAYOUTLOOP_OCR_PSM",
        "LAYOUTLOOP_OCR_TIMEOUT_S",
    }
)
"""Names with our prefix that other parts read; any further one is a mistyped setting."""

ALIASES = {
    "LABEL_STUDIO_URL": ("LABEL_STUDIO_HOST", "LABEL_STUDIO_HOSTNAME", "HOSTNAME"),
    KEY_VARIABLE: ("LABEL_STUDIO_ACCESS_TOKEN",),
    "BASIC_AUTH_USER": ("ML_SERVER_BASIC_AUTH_USER",),
    "BASIC_AUTH_PASS": ("ML_SERVER_BASIC_AUTH_PASS",),
}
GONE = {
    "USE_REDIS": "REDIS_URL alone chooses Redis, for the training jobs; unset it",
    "RQ_QUEUE_NAME": "there is no RQ queue, and REDIS_URL alone chooses Redis; unset it",
}
