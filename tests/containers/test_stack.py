"""What the container test reads of a node's metrics, at a small server in TorchServe's place."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.containers.stack import count_tagged, metrics_command
from tests.far_servers import _Handler, serve

TAGGED = """\
# HELP PagesTagged Torchserve prometheus counter metric with unit: Count
# TYPE PagesTagged counter
PagesTagged{ModelName="project-1",Level="Model",Hostname="box",} 31.0
PagesTagged{ModelName="project-2",Level="Model",Hostname="box",} 4.0
"""
ELSE = """\
PagesRead{ModelName="ocr",Level="Model",Hostname="box",} 47.0
# HELP PagesTagged Torchserve prometheus counter metric with unit: Count
"""


@pytest.mark.parametrize(
    ("metrics", "pages"),
    [
        pytest.param(TAGGED + ELSE, 35, id="two projects"),
        pytest.param(ELSE, 0, id="none since the start"),
        pytest.param("", 0, id="no metrics yet"),
    ],
)
def test_the_pages_that_a_node_tagged_are_counted(metrics: str, pages: int) -> None:
    def answer(handler: _Handler) -> None:
        known = handler.path == "/metrics"
        handler.reply(200 if known else 404, metrics.encode())

    with serve("127.0.0.1", answer) as server:
        command = metrics_command(server.port)
        printed = subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True, check=True).stdout
    assert command[0] == "python"
    assert count_tagged(printed) == pages
