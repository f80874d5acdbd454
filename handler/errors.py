"""Everything that can go wrong with one item, each with its HTTP status.

HandlerError                    500
├── RequestInvalid              400  the request has no body, or a parameter that is not understood
├── PageInvalid                 422  the Page or Regions JSON does not say what it must
│   └── FormatUnsupported       422  it is of another format number
├── ImageUnreadable             422  the bytes are no image that is opened here
│   ├── ImageTruncated          422  the image ends early
│   ├── ImageHasSeveralPages    422  a TIFF or PDF of several pages
│   └── ImageTooLarge           413  too many bytes or pixels
├── OcrFailed                   500  Tesseract gave up
│   ├── OcrLanguageMissing      422  Tesseract has no such language
│   └── OcrTimeout              504  the page took longer than its time limit
├── OutOfMemory                 507  a single window does not fit the device
├── AnswerInvalid               500  the model answers with numbers that are none
└── CheckpointInvalid           500  the folder cannot be served (raised while a model loads)
    └── LabelMismatch           500  its labels are missing or contradict each other
"""

from __future__ import annotations


class HandlerError(Exception):
    """One item could not be answered; the message says what was found and what to do."""

    status = 500
    code = "internal_error"


class RequestInvalid(HandlerError):
    """The request has no body, or a parameter that is not understood."""

    status = 400
    code = "request_invalid"


class PageInvalid(HandlerError):
    """The Page or Regions JSON does not say what it must."""

    status = 422
    code = "page_invalid"


class FormatUnsupported(PageInvalid):
    """The JSON is of another format number: an old archive met a new shim, or the reverse."""

    code = "format_unsupported"


class ImageUnreadable(HandlerError):
    """The bytes are no image that is opened here."""

    status = 422
    code = "image_unreadable"


class ImageTruncated(ImageUnreadable):
    """The image ends early."""

    code = "image_truncated"


class ImageHasSeveralPages(ImageUnreadable):
    """One request is one page."""

    code = "image_has_several_pages"


class ImageTooLarge(ImageUnreadable):
    """Too many bytes or pixels."""

    status = 413
    code = "image_too_large"


class OcrFailed(HandlerError):
    """Tesseract gave up on a page."""

    code = "ocr_failed"


class OcrLanguageMissing(OcrFailed):
    """Tesseract has no such language installed."""

    status = 422
    code = "ocr_language_missing"


class OcrTimeout(OcrFailed):
    """The page took longer than its time limit."""

    status = 504
    code = "ocr_timeout"


class OutOfMemory(HandlerError):
    """A single window does not fit the device, even alone."""

    status = 507
    code = "out_of_memory"


class AnswerInvalid(HandlerError):
    """The model answers with NaN or infinity: its weights are damaged, or overflow in this dtype."""

    code = "answer_invalid"


class CheckpointInvalid(HandlerError):
    """The checkpoint folder cannot be served."""

    code = "checkpoint_invalid"


class LabelMismatch(CheckpointInvalid):
    """The checkpoint's labels are missing or contradict each other."""

    code = "label_mismatch"
