"""Settings to configuration text: what supervisord and TorchServe are started with. All pure."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from layoutloop.processes.parts import PARTS
from layoutloop.settings.java_memory import heap_mib
from layoutloop.settings.node import REPOSITORY, NodeSettings, shim_settings
from layoutloop.settings.serving import Settings
from layoutloop.settings.values import LOOPBACK
from node.processes import INSTANCE, PART

LOG_BYTES = "10MB"
LOG_BACKUPS = 3
TORCHSERVE_KEEPS = (
    "PATH",
    "HOME",
    "LANG",
    "JAVA_HOME",
    "LD_LIBRARY_PATH",  # where some machines with a GPU keep the driver's libraries
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",  # in a container with fewer CPUs than the machine, which torch does not see
    "TESSDATA_PREFIX",
    "LAYOUTLOOP_CACHE_DIR",
    "LAYOUTLOOP_CACHE_BYTES",
    INSTANCE,
)
"""All that TorchServe sees of the environment: its workers run archive code, which must find no keys there."""

FEW_ARENAS = "MALLOC_ARENA_MAX=2"
"""glibc gives each thread an arena of its own and returns little of it: the shim was a fifth larger."""


@dataclass(frozen=True)
class Program:
    """One process that supervisord keeps alive.

    Args:
        command: the program and its arguments.
        stop_wait_s: seconds between SIGTERM and SIGKILL.
        launch: options of `layoutloop.processes.launch`, which starts the program.
    """

    name: str
    command: Sequence[str]
    stop_wait_s: int
    launch: Sequence[str] = ()


@dataclass(frozen=True)
class Commands:
    """What runs beside TorchServe, as the command that starts all of it says: this package knows no other.

    Args:
        archive: builds the archive of `ocr` where it is not current, and ends.
        rollout: the watcher.
        shim: the shim.
        worker: the trainer.
        node_problem: returns why no pages should be sent to this node yet, None where they may be.
    """

    archive: Sequence[str]
    rollout: Sequence[str]
    shim: Sequence[str]
    worker: Sequence[str]
    node_problem: Callable[[Settings], str | None]


@dataclass(frozen=True)
class Instance:
    """One start of programs on this machine.

    Args:
        settings: its home, model store and ports.
        commands: of its programs.
        environ: of the command that starts it.
        parts: which programs.
    """

    settings: NodeSettings
    commands: Commands
    environ: Mapping[str, str]
    parts: tuple[str, ...] = PARTS

    @property
    def inherited(self) -> dict[str, str]:
        """The environment of its processes, with the marks by which they are found again."""
        marks = {INSTANCE: str(self.settings.home), PART: ",".join(self.parts), "PYTHONNOUSERSITE": "1"}
        return {**self.environ, **self.settings.environment(), **marks}


def _torchserve_additions(instance: Instance, tmp: Path) -> list[str]:
    """Return the variables that TorchServe gets besides those it keeps, as `NAME=VALUE`."""
    settings, environ = instance.settings, instance.environ
    additions = {
        "TMPDIR": tmp,  # the command line's pid file
        "TEMP": tmp,  # Java's temporary folder: worker sockets, unpacked archives
        "LOG_LOCATION": settings.logs,
        "METRICS_LOCATION": settings.logs,
        "HF_HUB_OFFLINE": "1",
        "PYTHONNOUSERSITE": "1",
    }
    defaults = {
        "LANG": "C.UTF-8",
        "LAYOUTLOOP_CACHE_DIR": settings.page_cache,
        # Archives whose own setting is "all cores" share them: workers that take them all wait for each other.
        "OMP_NUM_THREADS": max(1, (os.cpu_count() or 1) // shim_settings(environ).project_workers),
    }
    additions |= {name: value for name, value in defaults.items() if not environ.get(name)}
    return [f"{name}={value}" for name, value in additions.items()]


def programs(instance: Instance, tmp: Path) -> list[Program]:
    """Return the program of each part, in the order they start; they stop in the opposite one.

    Args:
        instance: what is started.
        tmp: TorchServe's temporary folder.
    """
    settings, commands = instance.settings, instance.commands
    additions = _torchserve_additions(instance, tmp)
    torchserve = Program(
        name="torchserve",
        command=[
            *(sys.executable, "-m", "node.run_torchserve"),
            *("--folder", str(settings.torchserve)),
            *("--config", str(settings.torchserve_config)),
            *("--archives", str(settings.archives)),
            *("--log-config", str(REPOSITORY / "deploy" / "torchserve" / "log4j2.xml")),
        ],
        stop_wait_s=25,
        launch=["--keep", ",".join(TORCHSERVE_KEEPS), *(f"--set={addition}" for addition in additions)],
    )
    every = [
        torchserve,
        Program("rollout", commands.rollout, stop_wait_s=10),
        Program("shim", commands.shim, stop_wait_s=15),
        Program("trainer", commands.worker, stop_wait_s=25),  # a training that is stopped first writes a checkpoint
    ]
    return [program for program in every if program.name in instance.parts]


def supervision_file(settings: NodeSettings, parts: Sequence[str], kind: str) -> Path:
    """Return the supervisor's `conf`, `log` or `pid`; its name has the parts where these are not all."""
    name = "supervisord" if tuple(parts) == PARTS else "-".join(("supervisord", *parts))
    return (settings.logs if kind == "log" else settings.home) / f"{name}.{kind}"


def supervisor_config(settings: NodeSettings, started: Sequence[Program]) -> str:
    """Return a supervisord.conf: in the foreground, restarts what ends, bounds every log, opens no port."""
    parts = [program.name for program in started]
    head = [
        "[supervisord]",
        "nodaemon=true",
        "silent=true",
        f"pidfile={_escaped(supervision_file(settings, parts, 'pid'))}",
        f"logfile={_escaped(supervision_file(settings, parts, 'log'))}",
        f"logfile_maxbytes={LOG_BYTES}",
        f"logfile_backups={LOG_BACKUPS}",
        *(["user=root"] if os.geteuid() == 0 else []),  # otherwise supervisord logs it as critical
    ]
    sections = [_section(settings, program, order) for order, program in enumerate(started, start=1)]
    return "\n".join(["; Written by scripts.serve at every start: do not edit.", *head, *sections]) + "\n"


def _section(settings: NodeSettings, program: Program, order: int) -> str:
    launch = ["layoutloop.processes.launch", *program.launch, f"--set={PART}={program.name}", f"--set={FEW_ARENAS}"]
    command = shlex.join([sys.executable, "-m", *launch, "--", *program.command])
    lines = [
        "",
        f"[program:{program.name}]",
        f"command={_escaped(command)}",
        f"directory={_escaped(REPOSITORY)}",
        f"priority={order}",
        "autorestart=true",
        "startretries=1000000",
        "stopasgroup=true",
        "killasgroup=true",
        f"stopwaitsecs={program.stop_wait_s}",
        "redirect_stderr=true",
        f"stdout_logfile={_escaped(settings.logs / program.name)}.log",
        f"stdout_logfile_maxbytes={LOG_BYTES}",
        f"stdout_logfile_backups={LOG_BACKUPS}",
    ]
    return "\n".join(lines)


def _escaped(value: object) -> str:
    """Double the percent signs, which supervisord would expand."""
    return str(value).replace("%", "%%")


def torchserve_config(settings: NodeSettings, template: str, ocr_workers: int) -> str:
    """Fill in config.properties for one instance, whose model `ocr` has so many workers.

    Raises:
        KeyError: the template has a name that is not known here.
    """
    first, host = settings.torchserve_port, settings.torchserve_host
    return Template(template).substitute(
        inference_host=f"[{host}]" if ":" in host else host,
        token_authorization_disabled=str(host != LOOPBACK).lower(),
        inference_port=first,
        management_port=first + 1,
        metrics_port=first + 2,
        grpc_inference_port=first + 3,
        grpc_management_port=first + 4,
        initial_worker_port=first + 10,
        heap_mib=heap_mib(ocr_workers),
        archives=_property(settings.archives),
        metrics_config=_property(REPOSITORY / "deploy" / "torchserve" / "metrics.yaml"),
    )


def _property(path: Path) -> str:
    """Spell a path the way Java reads .properties files: Latin-1, with the backslash escapes that JSON has too."""
    return json.dumps(str(path))[1:-1]
