"""Why a training ended without a new version.

LayoutLoopError
└── TrainingError               422  base
    ├── ExportInvalid           422  a file or an answer is not Label Studio's JSON export
    ├── DatasetFailed           503  no page could be read, or reading stopped working
    ├── DatasetEmpty            422  the annotations hold nothing to learn from
    ├── BaseUnavailable         422  what training should start from cannot be loaded
    ├── TrainingRefused         422  it cannot be done with this base and these pages
    └── TrainingFailed          500  the training process ended without a model
"""

from __future__ import annotations

from layoutloop.errors import LayoutLoopError


class TrainingError(LayoutLoopError):
    """Base of what can go wrong in a training; what is in service stays there."""

    status = 422
    code = "training_error"


class ExportInvalid(TrainingError):
    """A file or an answer is not Label Studio's JSON export."""

    code = "export_invalid"


class DatasetFailed(TrainingError):
    """No page could be read, or reading stopped working in the middle."""

    status = 503
    code = "dataset_failed"


class SourceAway(DatasetFailed):
    """Those who have the images, or read them, do not answer: page after page would wait in vain."""


class DatasetEmpty(TrainingError):
    """The annotations hold nothing to learn from."""

    code = "dataset_empty"


class BaseUnavailable(TrainingError):
    """What training should start from cannot be loaded."""

    code = "base_unavailable"


class TrainingRefused(TrainingError):
    """It cannot be done with this base and these pages; another try would say the same."""

    code = "training_refused"


class TrainingFailed(TrainingError):
    """The training process ended without a model."""

    status = 500
    code = "training_failed"
