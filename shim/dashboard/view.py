"""What the dashboard shows, gathered from files and job records, without a request over a network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from typing import get_args

from layoutloop.errors import JobsUnavailable, ModelNotReady
from layoutloop.jobs.job import Job, Lane
from layoutloop.jobs.queue import JobStore
from layoutloop.store.manifest import project_model, project_of
from layoutloop.store.model_store import ModelStore
from layoutloop.store.stamps import is_stamp, moment_of
from layoutloop.studio.status import StudioStatus
from shim.project_titles import ProjectTitles
from shim.version_reports import VersionReport, VersionReports

MOST_PROJECTS = 100
"""Projects that the page shows: those in which something happened last."""
MOST_VERSIONS = 50
MOST_ENDED = 5
"""Ended jobs of each lane that the page shows; /jobs has them all."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a project.

    Args:
        stamp: `20261123T083000Z`.
        made: Unix seconds; None for a stamp that is no time.
        report: its figures.
        in_service: it answers now.
        restorable: its checkpoint is kept, so that it can be brought back.
        has_page: its report is there as a page.
        restored_from: the version whose checkpoint this is; empty for a training of its own.
        base_model: what training started from; empty where its card does not say.
        labels: of its model; none where it has no card.
    """

    stamp: str
    made: float | None
    report: VersionReport
    in_service: bool
    restorable: bool
    has_page: bool
    restored_from: str
    base_model: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Project:
    """One project.

    Args:
        id: Label Studio's.
        title: empty where neither a webhook nor the trainer has brought it yet.
        versions: newest first, at most `MOST_VERSIONS`, the one in service among them.
        current: stamp of the version in service; empty where there is none.
        since: when it began to answer, to a minute or so, Unix seconds.
        problem: why it is not known what is in service; empty where it is.
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


def read_names(titles: ProjectTitles, studio: StudioStatus) -> tuple[dict[int, str], Set[int]]:
    """Return the projects' titles, and which projects show a version of ours or send webhooks, without a request.

    The trainer's titles are newer than those from webhooks, for as long as it runs.
    """
    if studio.state == "silent":
        return {**studio.titles, **titles.all()}, titles.lately()
    return {**titles.all(), **studio.titles}, titles.lately() | studio.titles.keys()


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
    newest = {job.id for lane in get_args(Lane) for job in [one for one in ended if one.lane == lane][:MOST_ENDED]}
    return found, JobList((*running, *queued), tuple(job for job in ended if job.id in newest))


@dataclass(frozen=True, slots=True)
class StoreView:
    """The model store, for the dashboard.

    Args:
        store: the model store.
        reports: reads the reports beside its versions.
    """

    store: ModelStore
    reports: VersionReports

    def projects(
        self, titles: Mapping[int, str], in_use: Set[int], jobs: Sequence[Job]
    ) -> tuple[tuple[Project, ...], int]:
        """Return the projects with a folder or a job, or in use: at most `MOST_PROJECTS`, and how many others."""
        moments = {number: changed / 1e9 for number, changed in self._folders().items()}
        for job in jobs:
            moments[job.project] = max(moments.get(job.project, 0.0), job.created)
        moments = dict.fromkeys(in_use, 0.0) | moments  # what is only in use is the first to be left out
        chosen = sorted(moments, key=lambda number: (moments[number], number), reverse=True)[:MOST_PROJECTS]
        shown = (self.project(number, titles.get(number, ""), jobs) for number in sorted(chosen))
        return tuple(shown), len(moments) - len(chosen)

    def project(self, number: int, title: str, jobs: Sequence[Job] = ()) -> Project:
        """Return one project; an unknown one has no versions."""
        name = project_model(number)
        problem, current = "", ""
        try:
            serving = self.store.manifest(name)
            current = serving.current or "" if serving else ""
            if current and not (isinstance(current, str) and is_stamp(current)):
                problem, current = f"{name}/serving.json names {current!r:.80}, which is no version.", ""
        except ModelNotReady as error:
            problem = str(error)
        versions = tuple(self._version(name, stamp, current) for stamp in self._stamps(name, current))
        return Project(number, title, versions, current, _since(current, versions, jobs), problem)

    def revision(self, titles: Mapping[int, str], jobs: Sequence[Job]) -> str:
        """Return a string that changes when what the page says of projects may have changed; costs next to nothing."""
        ended = max((job.ended or 0.0 for job in jobs if job.state in ("done", "failed")), default=0.0)
        known = sorted(self._folders().items()), sorted(titles.items()), sorted({job.project for job in jobs}), ended
        return hashlib.sha256(repr(known).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def _folders(self) -> dict[int, int]:
        """Return when the folder of each project changed last, by project, in nanoseconds of Unix time.

        It changes with every file that is added, deleted or replaced, as all files there are written.
        """
        found = {}
        try:
            for path in self.store.path.iterdir():
                number = project_of(path.name)
                with suppress(FileNotFoundError):  # deleted in this moment
                    if number is not None:
                        found[number] = path.stat().st_mtime_ns
        except OSError:
            return {}  # before the first archive there is no model store
        return found

    def _stamps(self, name: str, current: str) -> list[str]:
        """Return the versions of a model that have an archive, a card or a report, newest first."""
        files = self.store.folder(name).glob(f"{name}-*")
        stamps = {path.name.removeprefix(f"{name}-").partition(".")[0] for path in files}
        found = sorted({current, *stamps} if current else stamps, reverse=True)
        newest = [stamp for stamp in found if is_stamp(stamp)][:MOST_VERSIONS]
        return newest if not current or current in newest else [*newest[:-1], current]

    def _version(self, name: str, stamp: str, current: str) -> Version:
        try:
            card = self.store.card(name, stamp)
        except ModelNotReady:
            card = None
        report = self.store.report_path(name, stamp)
        has_checkpoint = self.store.checkpoint_path(name, stamp).is_dir()
        return Version(
            stamp=stamp,
            made=moment_of(stamp),
            report=self.reports.of(report),
            in_service=stamp == current,
            restorable=card is not None and stamp != current and has_checkpoint,
            has_page=report.with_suffix(".html").is_file(),
            restored_from=str(card.restored_from or "") if card else "",
            base_model=str(card.base_model or "") if card else "",
            labels=tuple(card.labels) if card else (),
        )


def _since(current: str, versions: Sequence[Version], jobs: Sequence[Job]) -> float | None:
    """Return when the version in service began to answer: its job's end, its report's, or the time in its stamp."""
    for job in jobs:
        if current and job.version == current and job.verdict == "promoted":
            return job.ended
    serving = next((one for one in versions if one.in_service), None)
    if serving is None:
        return None
    # The report of a restored version is that of the training it comes from.
    return serving.made if serving.restored_from else serving.report.ended or serving.made
