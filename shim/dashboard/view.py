"""What the dashboard shows, gathered from files and job records: nobody is asked over a network for it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass

from layoutloop.errors import JobsUnavailable, ModelNotReady
from layoutloop.jobs.job import Job
from layoutloop.jobs.queue import JobStore
from layoutloop.store.manifest import project_model
from layoutloop.store.model_store import ModelStore
from layoutloop.store.stamps import is_stamp, moment_of
from layoutloop.studio.status import StudioStatus
from shim.project_titles import ProjectTitles
from shim.version_reports import VersionReport, VersionReports

MOST_PROJECTS = 100
"""Projects that the page shows: those in which something happened last."""
MOST_VERSIONS = 50
MOST_ENDED = 5
"""Ended jobs that the page shows; /jobs has them all."""

_FOLDER = re.compile(r"project-(0|[1-9][0-9]{0,17})")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a project.

    Args:
        stamp: `20261123T083000Z`.
        made: Unix seconds; None for a stamp that is no time.
        report: its figures.
        in_service: it answers now.
        restorable: its checkpoint is kept, so that it can be brought back.
        has_page: its report lies there as a page.
        restored_from: the version whose checkpoint this is; empty for a training of its own.
        base_model: what training started from; empty where its card does not say.
    """

    stamp: str
    made: float | None
    report: VersionReport
    in_service: bool
    restorable: bool
    has_page: bool
    restored_from: str
    base_model: str


@dataclass(frozen=True, slots=True)
class Project:
    """One project.

    Args:
        id: Label Studio's.
        title: empty where neither a webhook nor the trainer has told it yet.
        versions: newest first, at most `MOST_VERSIONS`, the one in service among them.
        current: stamp of the version in service; empty where there is none.
        since: when it began to answer, to a minute or so, Unix seconds.
        problem: why nobody can say what is in service; empty where that is known.
    """

    id: int
    title: str
    versions: tuple[Version, ...]
    current: str
    since: float | None
    problem: str = ""

    @property
    def serving(self) -> Version | None:
        """The version in service."""
        return next((one for one in self.versions if one.in_service), None)


@dataclass(frozen=True, slots=True)
class JobList:
    """The jobs that the page shows, or why it can show none.

    Args:
        going_on: those that run, then those that wait, oldest first.
        ended: the last few, newest first.
        problem: empty where the records can be read.
    """

    going_on: tuple[Job, ...] = ()
    ended: tuple[Job, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ProjectList:
    """The projects that the page shows.

    Args:
        shown: by id, at most `MOST_PROJECTS`.
        more: how many there are beside these.
    """

    shown: tuple[Project, ...]
    more: int


@dataclass(frozen=True, slots=True)
class Names:
    """What is known of Label Studio's projects without asking it.

    Args:
        titles: by id.
        in_use: those that show a version of ours, or whose webhooks come.
    """

    titles: Mapping[int, str]
    in_use: Set[int]


def read_names(titles: ProjectTitles, studio: StudioStatus) -> Names:
    """Put together what webhooks told and what the trainer saw, which is newer for as long as it runs."""
    told = titles.all()
    if studio.state == "silent":
        return Names({**studio.titles, **told}, titles.lately())
    return Names({**told, **studio.titles}, titles.lately() | studio.titles.keys())


def read_jobs(jobs: JobStore) -> tuple[list[Job], JobList]:
    """Return all jobs, newest first, and those to show."""
    try:
        found = jobs.newest()
    except JobsUnavailable as error:
        return [], JobList(problem=str(error))
    running = [job for job in reversed(found) if job.state == "running"]
    queued = [job for job in reversed(found) if job.state == "queued"]
    ended = sorted(
        (job for job in found if job.state in ("done", "failed")),
        key=lambda job: job.ended or job.updated,
        reverse=True,
    )
    return found, JobList((*running, *queued), tuple(ended[:MOST_ENDED]))


def read_projects(store: ModelStore, reports: VersionReports, names: Names, jobs: Iterable[Job]) -> ProjectList:
    """Return the projects that have a folder in the model store or a job, or that are in use in Label Studio."""
    listed = list(jobs)
    moments = {number: changed / 1e9 for number, changed in _folders(store).items()}
    for job in listed:
        moments[job.project] = max(moments.get(job.project, 0.0), job.created)
    # What only has a title gives way where there are too many.
    moments = dict.fromkeys(names.in_use, 0.0) | moments
    chosen = sorted(moments, key=lambda number: (moments[number], number), reverse=True)[:MOST_PROJECTS]
    shown = (read_project(store, number, names.titles.get(number, ""), reports, listed) for number in sorted(chosen))
    return ProjectList(tuple(shown), len(moments) - len(chosen))


def read_project(
    store: ModelStore, number: int, title: str, reports: VersionReports, jobs: Sequence[Job] = ()
) -> Project:
    """Return one project; one that nobody knows has no versions."""
    name = project_model(number)
    problem, current = "", ""
    try:
        serving = store.manifest(name)
        current = serving.current or "" if serving else ""
        if current and not (isinstance(current, str) and is_stamp(current)):
            problem, current = f"{name}/serving.json names {current!r:.80}, which is no version.", ""
    except ModelNotReady as error:
        problem = str(error)
    stamps = _stamps(store, name, current)
    versions = tuple(_version(store, number, stamp, current, reports) for stamp in stamps)
    return Project(number, title, versions, current, _since(number, current, versions, jobs), problem)


def revision(store: ModelStore, titles: Mapping[int, str], jobs: Iterable[Job]) -> str:
    """Return a string that changes when what the page says of projects may have changed; costs next to nothing."""
    listed = list(jobs)
    ended = [job.ended or 0.0 for job in listed if job.state in ("done", "failed")]
    known = (
        sorted(_folders(store).items()),
        sorted(titles.items()),
        sorted({job.project for job in listed}),
        max(ended, default=0.0),
    )
    return hashlib.sha256(repr(known).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _folders(store: ModelStore) -> dict[int, int]:
    """Return when the folder of each project changed last, by project, in nanoseconds of Unix time.

    It changes with every file that comes, goes, or takes another's place, as all do that are written there.
    """
    found = {}
    try:
        for path in store.path.iterdir():
            if match := _FOLDER.fullmatch(path.name):
                with suppress(FileNotFoundError):  # deleted in this moment
                    found[int(match[1])] = path.stat().st_mtime_ns
    except OSError:
        return {}  # before the first archive there is no model store
    return found


def _stamps(store: ModelStore, name: str, current: str) -> list[str]:
    """Return the versions of a project that left an archive, a card or a report, newest first."""
    found = {current} if current else set()
    for path in store.folder(name).glob(f"{name}-*"):
        stamp = path.name.removeprefix(f"{name}-").partition(".")[0]
        if is_stamp(stamp):
            found.add(stamp)
    newest = sorted(found, reverse=True)[:MOST_VERSIONS]
    return newest if not current or current in newest else [*newest[:-1], current]


def _version(store: ModelStore, number: int, stamp: str, current: str, reports: VersionReports) -> Version:
    name = project_model(number)
    restored_from = base_model = ""
    readable = True
    try:
        card = store.card(name, stamp)
        restored_from, base_model = str(card.restored_from or ""), str(card.base_model or "")
    except ModelNotReady:
        readable = False
    report = store.report_path(name, stamp)
    return Version(
        stamp=stamp,
        made=moment_of(stamp),
        report=reports.of(report),
        in_service=stamp == current,
        restorable=readable and stamp != current and store.checkpoint_path(name, stamp).is_dir(),
        has_page=report.with_suffix(".html").is_file(),
        restored_from=restored_from,
        base_model=base_model,
    )


def _since(number: int, current: str, versions: Sequence[Version], jobs: Iterable[Job]) -> float | None:
    """Return when the version in service began to answer: its job's end, its report's, or the time in its stamp."""
    for job in jobs:
        if job.project == number and current and job.version == current and job.verdict == "promoted":
            return job.ended
    serving = next((one for one in versions if one.in_service), None)
    if serving is None:
        return None
    # The report of a restored version is that of the training it comes from.
    return serving.made if serving.restored_from else serving.report.ended or serving.made
