"""Everything that can go wrong with one request or page, each with its HTTP status; the root of the project's errors.

The handler rides alone in every archive, so the root stands here. All other errors are in `layoutloop/errors.py`.

LayoutLoopError                     500  root of every error that is foreseen
└── HandlerError                    500  one request or page cannot be answered
    ├── RequestInvalid              400  the request does not say what it must
    ├── PageInvalid                 422  the Page or Regions JSON does not say what it must
    │   └── FormatUnsupported       422  it is of another format number
    ├── ImageUnreadable             422  the bytes are no image that is opened here
    │   ├── ImageTruncated          422  the image ends early
    │   ├── ImageHasSeveralPages    422  a TIFF or PDF of several pages
    │   └── ImageTooLarge           413  more bytes or pixels than are read
    ├── OcrFailed                   500  the OCR engine gave up
    │   ├── OcrLanguageMissing      422  the engine does not read this language
    │   └── OcrTimeout              504  the page took longer than its time limit
    ├── MachineFailed               507  the machine lacks disk, memory, files or processes; no fault of the page
    │   └── OutOfMemory             507  a single window does not fit the device
    ├── AnswerInvalid               500  the model answers with numbers that are none
    └── CheckpointInvalid           500  the folder cannot be served (raised while a model loads)
        └── LabelMismatch           500  its labels are missing or contradict each other
"""

from __future__ import annotations


class LayoutLoopError(Exception):
    """Root of every error that is foreseen; the message says what was found and what to do."""

    status = 500
    code = "internal_error"

    def __init_subclass__(cls, status: int | None = None, code: str | None = None) -> None:
        """Give a class its HTTP status and its code; what it does not name is its base's."""
        super().__init_subclass__()
        cls.status = cls.status if status is None else status
        cls.code = cls.code if code is None else code


class HandlerError(LayoutLoopError):
    """One request or page cannot be answered."""


class RequestInvalid(HandlerError, status=400, code="request_invalid"):
    """The request does not say what it must: no body, a field that is missing or wrong, an unknown parameter."""


class PageInvalid(HandlerError, status=422, code="page_invalid"):
    """The Page or Regions JSON does not say what it must."""


class FormatUnsupported(PageInvalid, code="format_unsupported"):
    """The JSON is of another format number: an old archive met a new shim, or the reverse."""


class ImageUnreadable(HandlerError, status=422, code="image_unreadable"):
    """The bytes are no image that is opened here."""


class ImageTruncated(ImageUnreadable, code="image_truncated"):
    """The image ends early."""


class ImageHasSeveralPages(ImageUnreadable, code="image_has_several_pages"):
    """One request is one page."""


class ImageTooLarge(ImageUnreadable, status=413, code="image_too_large"):
    """The image has more bytes or pixels than are read, whether that is found here or before."""


class OcrFailed(HandlerError, code="ocr_failed"):
    """The OCR engine gave up on a page."""


class OcrLanguageMissing(OcrFailed, status=422, code="ocr_language_missing"):
    """The engine does not read this language, or it is not installed."""


class OcrTimeout(OcrFailed, status=504, code="ocr_timeout"):
    """The page took longer than its time limit."""


class MachineFailed(HandlerError, status=507, code="machine_failed"):
    """The machine lacks disk, memory, files or processes: that says nothing about the page, and another try may do."""


class OutOfMemory(MachineFailed, code="out_of_memory"):
    """A single window does not fit the device, even alone."""


class AnswerInvalid(HandlerError, code="answer_invalid"):
    """The model answers with NaN or infinity: its weights are damaged, or overflow in this dtype."""


class CheckpointInvalid(HandlerError, code="checkpoint_invalid"):
    """The checkpoint folder cannot be served."""


class LabelMismatch(CheckpointInvalid, code="label_mismatch"):
    """The checkpoint's labels are missing or contradict each other."""
