"""Titles that follow versions, against a small Label Studio on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from layoutloop.connect.backend_titles import TITLE, TitleState, ensure_titles
from layoutloop.errors import StudioRefused, StudioUnavailable
from layoutloop.studio.client import StudioClient, open_studio
from tests.far_servers import LEGACY_KEY
from tests.studio_server import FakeStudio, serve_studio

STAMP = "20261123T083000Z"
OLD, NEW, EDITED = f"{STAMP}-0a1b2c3d", "20261123T091500Z-0a1b2c3d", f"{STAMP}-99999999"
COLD, COLD_EDITED = "ocr-0a1b2c3d", "ocr-99999999"
URL = "http://127.0.0.1:9090"


@dataclass
class Bench:
    """A Label Studio with project 7, and its client."""

    studio: FakeStudio
    client: StudioClient

    def look(self, stamp: str | None = STAMP) -> TitleState:
        return ensure_titles(self.client, 7, stamp)

    @property
    def titles(self) -> list[str]:
        return [row["title"] for row in self.studio.backends.values()]

    @property
    def shown(self) -> str:
        return str(self.studio.projects[7]["model_version"])


@pytest.fixture
def bench() -> Iterator[Bench]:
    studio = FakeStudio()
    studio.add_project(7)
    with serve_studio(studio) as server, open_studio(f"http://127.0.0.1:{server.port}", LEGACY_KEY) as client:
        yield Bench(studio, client)


@pytest.mark.parametrize(
    ("stamp", "title", "shown", "version", "after"),
    [
        pytest.param(STAMP, OLD, OLD, OLD, OLD, id="all right"),
        pytest.param(STAMP, COLD, COLD, OLD, OLD, id="the first version"),
        pytest.param(STAMP, NEW, NEW, OLD, OLD, id="another version"),
        pytest.param(STAMP, OLD, OLD, EDITED, EDITED, id="an edit of the label config"),
        pytest.param(None, COLD, COLD, COLD_EDITED, COLD_EDITED, id="an edit before any version"),
        pytest.param(STAMP, TITLE, TITLE, OLD, OLD, id="connected by hand"),
        pytest.param(STAMP, OLD, NEW, OLD, OLD, id="a race left another version"),
        pytest.param(STAMP, OLD, TITLE, OLD, OLD, id="a race left the first title"),
        pytest.param(STAMP, COLD, NEW, OLD, OLD, id="both are stale"),
    ],
)
def test_title_and_what_is_shown_follow_the_version(
    bench: Bench, stamp: str | None, title: str, shown: str, version: str, after: str
) -> None:
    bench.studio.add_backend(URL, title=title)
    bench.studio.projects[7]["model_version"] = shown
    bench.studio.version = version
    for _ in range(2):
        assert bench.look(stamp) is TitleState.RIGHT
        assert (bench.titles, bench.shown) == ([after], after)
    asked = len(bench.studio.changes)
    bench.look(stamp)
    assert len(bench.studio.changes) == asked


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        pytest.param("our model", "our model", id="a title"),
        pytest.param("our model", COLD, id="a title, and a version is shown"),
        pytest.param(OLD, "imported", id="imported predictions are shown"),
        pytest.param(OLD, "", id="nothing is shown"),
    ],
)
def test_what_a_person_chose_stays(bench: Bench, title: str, shown: str) -> None:
    bench.studio.add_backend(URL, title=title)
    bench.studio.projects[7]["model_version"] = shown
    bench.studio.version = OLD
    assert bench.look() is (TitleState.RIGHT if title == OLD else TitleState.NONE)
    assert (bench.titles, bench.shown) == ([title], shown)
    assert bench.studio.changes == []


def _behind(studio: FakeStudio) -> None:
    studio.version = NEW


def _away(studio: FakeStudio) -> None:
    studio.state = "DI"


def _foreign(studio: FakeStudio) -> None:
    studio.version = "1.0"


@pytest.mark.parametrize(
    ("spoil", "stamp"),
    [
        pytest.param(_behind, STAMP, id="another version"),
        pytest.param(_behind, None, id="a version, and none is in service here"),
        pytest.param(_away, STAMP, id="the shim is away"),
        pytest.param(_foreign, STAMP, id="somebody else's version"),
    ],
)
def test_what_is_not_ours_or_not_yet_is_left_alone(
    bench: Bench, spoil: Callable[[FakeStudio], None], stamp: str | None
) -> None:
    bench.studio.add_backend(URL, title=COLD, model_version=OLD)
    spoil(bench.studio)
    assert bench.look(stamp) is TitleState.BEHIND
    assert bench.studio.changes == []


@pytest.mark.parametrize(
    ("first", "shown"),
    [
        pytest.param(True, OLD, id="ours is asked"),
        pytest.param(False, NEW, id="the other one is asked"),
    ],
)
def test_two_layoutloops_on_one_project(bench: Bench, first: bool, shown: str) -> None:
    rows = [{"title": COLD, "answers": OLD}, {"title": NEW, "answers": NEW}]
    for number, row in enumerate(rows if first else rows[::-1]):
        bench.studio.add_backend(f"http://127.0.0.1:909{number}", **row)
    bench.studio.projects[7]["model_version"] = NEW
    assert bench.look() is TitleState.PARTLY
    assert sorted(bench.titles) == sorted([OLD, NEW])
    assert bench.shown == shown


def test_a_project_that_nobody_connected(bench: Bench) -> None:
    assert bench.look() is TitleState.NO_BACKEND
    bench.studio.add_backend("http://10.0.0.9:9090", title="Another")
    assert bench.look() is TitleState.NONE
    assert bench.studio.changes == []


def test_the_password_is_kept(bench: Bench) -> None:
    bench.studio.password = "sesame"
    auth = {"auth_method": "BASIC_AUTH", "basic_auth_user": "studio", "basic_auth_pass_is_set": True}
    bench.studio.add_backend(URL, title=COLD, **auth)
    bench.studio.passwords[1] = "sesame"
    bench.studio.version = OLD
    assert bench.look() is TitleState.RIGHT
    assert bench.titles == [OLD]
    assert bench.studio.passwords == {1: "sesame"}


def _gone(studio: FakeStudio) -> None:
    studio.projects.clear()


def _of_another_form(studio: FakeStudio) -> None:
    del studio.backends[1]["auth_method"]


@pytest.mark.parametrize(
    ("spoil", "error", "status"),
    [
        pytest.param(_gone, StudioRefused, 404, id="no such project"),
        pytest.param(_of_another_form, StudioUnavailable, 200, id="an answer of another form"),
    ],
)
def test_what_cannot_be_put_right(
    bench: Bench, spoil: Callable[[FakeStudio], Any], error: type[StudioUnavailable], status: int
) -> None:
    bench.studio.add_backend(URL, title=COLD)
    bench.studio.version = OLD
    spoil(bench.studio)
    with pytest.raises(error) as raised:
        bench.look()
    assert raised.value.studio_status == status
