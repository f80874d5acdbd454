from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Before anybody imports transformers: a test that forgot a file must fail, not ask the hub for it.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

# The same examples in every run, and no time limit for one of them: a machine may be busy.
settings.register_profile("fixed", derandomize=True, database=None, deadline=None, max_examples=40)
settings.register_profile("explore", database=None, deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


@pytest.fixture(scope="session")
def text_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LayoutLMv3 with RoBERTa's kind of tokenizer that does not look at the image."""
    from tests.checkpoints import make_checkpoint  # torch takes seconds to import, and the shim's tests need none of it

    return make_checkpoint(tmp_path_factory.mktemp("text-checkpoint"))


@pytest.fixture(scope="session")
def image_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LayoutLMv3 with RoBERTa's kind of tokenizer that looks at the image."""
    from tests.checkpoints import make_checkpoint

    return make_checkpoint(tmp_path_factory.mktemp("image-checkpoint"), visual_embed=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured (`record_property("figures", ...)`); it would be lost in a parallel run."""
    for report in terminalreporter.getreports("passed"):
        for name, figures in report.user_properties:
            if name == "figures":
                terminalreporter.write_line(f"{report.head_line}: {figures}")
