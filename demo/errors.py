"""What can go wrong in the demo.

LayoutLoopError
└── DemoFailed                      500  a step failed; the message, or what the step printed, says why
    ├── StudioFailed                500  Label Studio could not be started
    ├── LoopFailed                  500  LayoutLoop could not be started
    └── FontsMissing                500  fewer than three font families are installed
"""

from __future__ import annotations

from layoutloop.errors import LayoutLoopError


class DemoFailed(LayoutLoopError, code="demo_failed"):
    """A step failed; the message, or what the step printed, says why."""


class StudioFailed(DemoFailed, code="studio_failed"):
    """Label Studio could not be started; the message says why."""


class LoopFailed(DemoFailed, code="loop_failed"):
    """LayoutLoop could not be started; the message says why."""


class FontsMissing(DemoFailed, code="fonts_missing"):
    """Fewer than three font families are installed."""
