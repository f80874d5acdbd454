"""Everything the shim says no to, each with its HTTP status.

LayoutLoopError                 500
├── SettingsInvalid             500  raised at start: a setting that cannot be used
├── RequestInvalid              400  the body is not what Label Studio sends
├── Unauthorized                401  Basic auth is on and was not given
├── CrossSite                   403  a page of another site asked a browser to change something here
├── JobNotFound                 404  no job has this id (any more)
├── Superseded                  409  this attempt is no longer the one that may go on with its job
├── LabelConfigUnsupported      422  the label config has no Image with rectangles
├── TaskInvalid                 422  a task has no image where the label config says one is
├── ImageUnavailable            424  an image reference could not be turned into bytes
│   ├── ImageSourceAway         424  who has the image does not answer; that says nothing about the image itself
│   ├── ImageRefused            403  the address is not one the shim may ask
│   └── ImageTooBig             413  more bytes than allowed
├── PageRejected                422  TorchServe's handler refused this page; carries its code
├── ModelNotReady               503  serving.json names a version that TorchServe does not hold (yet)
│   └── NoModelYet              503  the project has no model so far, and its label config draws nothing without one
├── TorchServeUnavailable       503  TorchServe does not answer, or drops the request
├── DeadlineExceeded            504  no time is left for this item
│   └── StillRunning            504  it goes on in the background; ask again
├── Overloaded                  503  too much is waiting already
├── StudioUnavailable           502  Label Studio's API did not answer, or not with what was asked for
│   └── StudioRefused           502  it does not have this, or the key may not see it; asking again changes nothing
├── NotConnected                502  Label Studio and the shim are not connected as they should be
├── StoreUnavailable            503  the model store, or the Redis that keeps its locks, does not answer
│   └── LeaseLost               503  another process may hold the lock by now: nothing is changed
└── JobsUnavailable             503  the job records cannot be read or written now
"""

from __future__ import annotations


class LayoutLoopError(Exception):
    """Base of the tree; the message says what was found and what to do."""

    status = 500
    code = "internal_error"


class SettingsInvalid(LayoutLoopError):
    """A setting that cannot be used; raised at start."""

    code = "settings_invalid"


class RequestInvalid(LayoutLoopError):
    """The body is not what Label Studio sends."""

    status = 400
    code = "request_invalid"


class Unauthorized(LayoutLoopError):
    """Basic auth is on and was not given, or was wrong."""

    status = 401
    code = "unauthorized"


class CrossSite(LayoutLoopError):
    """A page of another site asked a browser to change something here."""

    status = 403
    code = "cross_site"


class JobNotFound(LayoutLoopError):
    """No job has this id (any more)."""

    status = 404
    code = "job_not_found"


class Superseded(LayoutLoopError):
    """This attempt is no longer the one that may go on with its job: whoever works on it stops."""

    status = 409
    code = "superseded"


class LabelConfigUnsupported(LayoutLoopError):
    """The label config has no Image with rectangles that results could be drawn with."""

    status = 422
    code = "label_config_unsupported"


class TaskInvalid(LayoutLoopError):
    """A task has no image where the label config says one is."""

    status = 422
    code = "task_invalid"


class ImageUnavailable(LayoutLoopError):
    """An image reference could not be turned into bytes."""

    status = 424
    code = "image_unavailable"


class ImageSourceAway(ImageUnavailable):
    """Who has the image does not answer, or only with an error of its own: the next image would fare no better."""

    code = "image_source_away"


class ImageRefused(ImageUnavailable):
    """The address is not one the shim may ask."""

    status = 403
    code = "image_refused"


class ImageTooBig(ImageUnavailable):
    """The image has more bytes than allowed."""

    status = 413
    code = "image_too_big"


class PageRejected(LayoutLoopError):
    """TorchServe's handler refused this page; `code` is the handler's own."""

    status = 422

    def __init__(self, code: str, message: str, status: int = 422) -> None:
        """Take over the handler's code, message and status."""
        super().__init__(message)
        self.code = code
        self.status = status


class ModelNotReady(LayoutLoopError):
    """serving.json names a version that TorchServe does not hold (yet, or any more)."""

    status = 503
    code = "model_not_ready"


class NoModelYet(ModelNotReady):
    """The project has no model so far, and its label config draws nothing without one: nothing is wrong."""

    code = "no_model_yet"


class TorchServeUnavailable(LayoutLoopError):
    """TorchServe does not answer, or dropped the request without a word."""

    status = 503
    code = "torchserve_unavailable"


class DeadlineExceeded(LayoutLoopError):
    """No time is left for this item."""

    status = 504
    code = "deadline_exceeded"


class StillRunning(DeadlineExceeded):
    """The page was not done in time and goes on in the background; the next ask finds it done."""

    code = "still_running"


class Overloaded(LayoutLoopError):
    """Too much is waiting already; asking again later is answered from what was done meanwhile."""

    status = 503
    code = "overloaded"


class StudioUnavailable(LayoutLoopError):
    """Label Studio's API did not answer, broke off, or answered with something else than was asked for.

    Args:
        message: names the address and says what to do.
        studio_status: Label Studio's HTTP status; 0 where no whole answer came.
        reason: what Label Studio itself says about it, in short; "" where it says nothing.
    """

    status = 502
    code = "studio_unavailable"

    def __init__(self, message: str, studio_status: int = 0, reason: str = "") -> None:
        """Keep what Label Studio answered beside the message."""
        super().__init__(message)
        self.studio_status = studio_status
        self.reason = reason

    @property
    def is_away(self) -> bool:
        """Whether a wait may mend it: no answer, a key that is refused now, or one before it says that it is away."""
        return self.studio_status in (0, 401, 429, 502, 503, 504)


class StudioRefused(StudioUnavailable):
    """Label Studio does not have this, or the key may not see or do it (401, 403, 404)."""

    code = "studio_refused"


class NotConnected(LayoutLoopError):
    """Label Studio and the shim are not connected as they should be; says what to do."""

    status = 502
    code = "not_connected"


class StoreUnavailable(LayoutLoopError):
    """The model store at its URL, or the Redis that keeps its locks, does not answer now."""

    status = 503
    code = "store_unavailable"


class LeaseLost(StoreUnavailable):
    """The lock that was held may be another process's by now, so nothing is changed under it."""

    code = "lease_lost"


class JobsUnavailable(LayoutLoopError):
    """The job records cannot be read or written now."""

    status = 503
    code = "jobs_unavailable"
