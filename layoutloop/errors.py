"""Everything that can go wrong outside of the handler, each with its HTTP status.

An image, a store, a service is unavailable where it cannot be had as it is needed; unreachable, where nothing answers.
The root and RequestInvalid come from `handler/errors.py`, which has HandlerError and what is below it.

LayoutLoopError                     500
├── SettingsInvalid                 500  raised at start: a setting that cannot be used
├── Unauthorized                    401  Basic auth is on and was not given
├── CrossSite                       403  a page of another site made a browser send a change
├── HostUnknown                     421  without Basic auth, the shim was called by a name that is none of its own
├── JobNotFound                     404  no job has this id (any more)
├── Superseded                      409  this attempt is no longer the one that may go on with its job
├── LabelConfigUnsupported          422  the label config has no Image with rectangles
├── TaskInvalid                     422  a task has no image where the label config says one is
├── AddressRefused                  403  an address that nothing here may connect to
├── HostUnreachable                 502  its name does not resolve, nothing takes connections there, or it breaks off
├── ImageUnavailable                424  what an image reference names cannot be had
│   └── ImageSourceUnreachable      424  its source is down or unreachable; that says nothing about the image itself
├── WordsInvalid                    422  the words that a task brings for a page cannot be those of the page
├── PageRejected                    422  TorchServe's handler refused this page; carries its code
├── ModelNotReady                   503  serving.json names a version that TorchServe does not hold (yet)
│   └── NoModelYet                  503  the project has no model so far, and its label config draws nothing without one
├── TorchServeUnavailable           503  TorchServe's inference does not answer, or drops the request
├── ManagementError                 502  TorchServe's management refused, or there is nothing to manage
│   └── TorchServeUnreachable       503  TorchServe's management does not answer: it is starting, or gone
├── DeadlineExceeded                504  no time is left for this item
│   └── StillRunning                504  it goes on in the background; request it again
├── Overloaded                      503  too much is waiting already
├── TooManyTasks                    413  one request has more tasks than are taken
├── StudioUnavailable               502  Label Studio's API did not answer, or not with what is needed
│   └── StudioRefused               502  it does not have this, or the key may not see it; another try changes nothing
├── NotConnected                    502  Label Studio and the shim are not connected as they should be
│   └── ShimUnavailable             503  the shim does not answer, or has nothing in service; another try may do
├── StoreUnavailable                503  the model store, or the Redis that keeps its locks, does not answer
│   └── LeaseLost                   503  another process may hold the lock by now: nothing is changed
├── StoreBusy                       409  another process holds the model's lock
├── JobsUnavailable                 503  the job records cannot be read or written now
├── RolloutFailed                   500  the version is not in service; what was in service before still is
│   ├── NotFetched                  503  its archive cannot be read now, so nothing is known about the version
│   └── NoNodeTried                 503  no node came to a judgement about the version; another try may do
├── ArchiveFailed                   500  an archive could not be built
├── FileUnusable                    422  a file that a person named cannot be read or written
├── DocumentUnreadable              422  a file is no document that can be split into pages
├── DocumentRefused                 422  Label Studio does not take a page of a document
└── TrainingError                   422  a training ended without a new version
    ├── ExportInvalid               422  a file or an answer is not Label Studio's JSON export
    ├── DatasetFailed               503  no page could be read, or reading stopped working
    │   └── SourcesUnreachable      503  what has the images, or reads them, is down or unreachable
    ├── DatasetEmpty                422  the annotations hold nothing to learn from
    ├── BaseUnavailable             422  what training should start from cannot be loaded
    ├── TrainingRefused             422  it cannot be done with this base and these pages
    └── TrainingFailed              500  the training process ended without a model
"""

from __future__ import annotations

from handler.errors import LayoutLoopError as LayoutLoopError
from handler.errors import RequestInvalid as RequestInvalid


class SettingsInvalid(LayoutLoopError, code="settings_invalid"):
    """A setting that cannot be used; raised at start."""


class Unauthorized(LayoutLoopError, status=401, code="unauthorized"):
    """Basic auth is on and was not given, or was wrong."""


class CrossSite(LayoutLoopError, status=403, code="cross_site"):
    """A page of another site made a browser send a change here."""


class HostUnknown(LayoutLoopError, status=421, code="host_unknown"):
    """While Basic auth is off, the shim was called by a name that no setting has: a page's browser may be misled."""


class JobNotFound(LayoutLoopError, status=404, code="job_not_found"):
    """No job has this id (any more)."""


class Superseded(LayoutLoopError, status=409, code="superseded"):
    """This attempt is no longer the one that may go on with its job: whoever works on it stops."""


class LabelConfigUnsupported(LayoutLoopError, status=422, code="label_config_unsupported"):
    """The label config has no Image with rectangles that results could be drawn with."""


class TaskInvalid(LayoutLoopError, status=422, code="task_invalid"):
    """A task has no image where the label config says one is."""


class AddressRefused(LayoutLoopError, status=403, code="address_refused"):
    """Nothing here may connect to this address or read this path, or programs would read it in different ways."""


class HostUnreachable(LayoutLoopError, status=502, code="host_unreachable"):
    """A host's name does not resolve, nothing takes connections there, or it breaks off its answer."""


class ImageUnavailable(LayoutLoopError, status=424, code="image_unavailable"):
    """What an image reference names cannot be had."""


class ImageSourceUnreachable(ImageUnavailable, code="image_source_unreachable"):
    """What has the image does not answer, or only with an error of its own: the next image would fare no better."""


class WordsInvalid(LayoutLoopError, status=422, code="words_invalid"):
    """The words that a task brings for a page are no Page of the wire, or cannot be those of the page."""


class PageRejected(LayoutLoopError, status=422, code="page_rejected"):
    """TorchServe's handler refused this page; `code` is the handler's own."""

    def __init__(self, code: str, message: str, status: int = 422) -> None:
        """Take over the handler's code, message and status."""
        super().__init__(message)
        self.code = code
        self.status = status


class ModelNotReady(LayoutLoopError, status=503, code="model_not_ready"):
    """serving.json names a version that TorchServe does not hold (yet, or any more)."""


class NoModelYet(ModelNotReady, code="no_model_yet"):
    """The project has no model so far, and its label config draws nothing without one: nothing is wrong."""


class TorchServeUnavailable(LayoutLoopError, status=503, code="torchserve_unavailable"):
    """TorchServe's inference does not answer, or dropped the request without a word."""


class ManagementError(LayoutLoopError, status=502, code="management_error"):
    """TorchServe's management refused, with its own words in the message; or no model store says what it should do."""


class TorchServeUnreachable(ManagementError, status=503, code="torchserve_unreachable"):
    """TorchServe's management does not answer at all: it is starting, or gone; no fault of any archive."""


class DeadlineExceeded(LayoutLoopError, status=504, code="deadline_exceeded"):
    """No time is left for this item."""


class StillRunning(DeadlineExceeded, code="still_running"):
    """The page was not done in time and goes on in the background; requested again it is found done."""


class Overloaded(LayoutLoopError, status=503, code="overloaded"):
    """Too much is waiting already; a later request is answered from what was done meanwhile."""


class TooManyTasks(LayoutLoopError, status=413, code="too_many_tasks"):
    """One request has more tasks than are taken at a time."""


class StudioUnavailable(LayoutLoopError, status=502, code="studio_unavailable"):
    """Label Studio's API did not answer, broke off, or answered with something else than what is needed.

    Args:
        message: names the address and says what to do.
        studio_status: Label Studio's HTTP status; 0 where no whole answer came.
        reason: what Label Studio itself says about it, in short; "" where it says nothing.
    """

    def __init__(self, message: str, studio_status: int = 0, reason: str = "") -> None:
        """Keep what Label Studio answered beside the message."""
        super().__init__(message)
        self.studio_status = studio_status
        self.reason = reason

    @property
    def is_temporary(self) -> bool:
        """Whether a wait may mend it: no answer, a key that is refused now, or a proxy that says it is down."""
        return self.studio_status in (0, 401, 429, 502, 503, 504)


class StudioRefused(StudioUnavailable, code="studio_refused"):
    """Label Studio does not have this, or the key may not see or do it (401, 403, 404)."""


class NotConnected(LayoutLoopError, status=502, code="not_connected"):
    """Label Studio and the shim are not connected as they should be; says what to do."""


class ShimUnavailable(NotConnected, status=503, code="shim_unavailable"):
    """The shim does not answer now, or has nothing in service."""


class StoreUnavailable(LayoutLoopError, status=503, code="store_unavailable"):
    """The model store at its URL, or the Redis that keeps its locks, does not answer now."""


class LeaseLost(StoreUnavailable, code="lease_lost"):
    """The lock that was held may be another process's by now, so nothing is changed under it."""


class StoreBusy(LayoutLoopError, status=409, code="store_busy"):
    """Another process holds the model's lock."""


class JobsUnavailable(LayoutLoopError, status=503, code="jobs_unavailable"):
    """The job records cannot be read or written now."""


class RolloutFailed(LayoutLoopError, code="rollout_failed"):
    """The version is not in service; what was in service before still is."""


class NotFetched(RolloutFailed, status=503, code="not_fetched"):
    """The archive could not be read, so nothing is known about the version."""


class NoNodeTried(RolloutFailed, status=503, code="no_node_tried"):
    """No node came to a judgement about the version, so another try may do."""


class ArchiveFailed(LayoutLoopError, code="archive_failed"):
    """The archive could not be built; the message says why and nothing was left behind."""


class FileUnusable(LayoutLoopError, status=422, code="file_unusable"):
    """A file or folder that a person named cannot be read or written; names it, what was found and what to do."""


class DocumentUnreadable(LayoutLoopError, status=422, code="document_unreadable"):
    """The file is no document that can be split into pages; the message says why."""


class DocumentRefused(LayoutLoopError, status=422, code="document_refused"):
    """Label Studio does not take a page of the document; the message says which and why."""


class TrainingError(LayoutLoopError, status=422, code="training_error"):
    """Base of what can go wrong in a training; what is in service stays there."""


class ExportInvalid(TrainingError, code="export_invalid"):
    """A file or an answer is not Label Studio's JSON export."""


class DatasetFailed(TrainingError, status=503, code="dataset_failed"):
    """No page could be read, or reading stopped working in the middle."""


class SourcesUnreachable(DatasetFailed, code="sources_unreachable"):
    """What has the images, or reads them, is down or unreachable: page after page would wait in vain."""


class DatasetEmpty(TrainingError, code="dataset_empty"):
    """The annotations hold nothing to learn from."""


class BaseUnavailable(TrainingError, code="base_unavailable"):
    """What training should start from cannot be loaded."""


class TrainingRefused(TrainingError, code="training_refused"):
    """It cannot be done with this base and these pages; another try would say the same."""


class TrainingFailed(TrainingError, status=500, code="training_failed"):
    """The training process ended without a model."""
