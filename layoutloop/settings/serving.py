"""The shim's settings: one frozen dataclass, read from the environment once."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from layoutloop.errors import SettingsInvalid
from layoutloop.settings.values import (
    LOOPBACK,
    TRUE,
    check_host_names,
    check_networks,
    convert,
    is_address,
    is_loopback,
    is_node_address,
    is_redis,
    reachable,
    redis_address,
    task_count,
)
from layoutloop.settings.variables import ALIASES, GONE, READ_ELSEWHERE
from layoutloop.store.model_store import ModelStore
from layoutloop.store.path import StorePath, store_path
from layoutloop.studio.api_key_file import KEY_FILE_VARIABLE, KEY_VARIABLE
from layoutloop.studio.web_address import parse_host_rules

LEAST_SILENT_S = 15.0
"""At a URL: a copy of the store that had an error sends what a node reports as much as 10 s late."""
MOST_PROJECT_WORKERS = 4
"""By default: each takes 400 MB and more, and one thread of a CPU."""
_ABOVE_ZERO = (
    *("max_image_bytes", "deadline_s", "max_predicts", "max_waiting_pages", "ocr_workers", "project_workers"),
    *("node_silent_s", "max_tasks"),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the shim can be told; the environment name stands behind each.

    Args:
        label_studio_url: LABEL_STUDIO_URL, the one host that gets the key.
        label_studio_api_key: LABEL_STUDIO_API_KEY, a legacy token or a personal access token; or, in its place, the
            file of LABEL_STUDIO_API_KEY_FILE that holds one, read again when Label Studio refuses the key.
        basic_auth_user: BASIC_AUTH_USER, required on every route but / and /health.
        basic_auth_pass: BASIC_AUTH_PASS.
        model_dir: MODEL_DIR, the model store: a folder, or a URL that fsspec knows.
        home: LAYOUTLOOP_HOME, all running state.
        host: LAYOUTLOOP_HOST, where the shim listens.
        port: LAYOUTLOOP_PORT.
        hosts: LAYOUTLOOP_HOSTS, names besides localhost by which the shim may be called while Basic auth is off.
        torchserve_port: LAYOUTLOOP_TORCHSERVE_PORT; inference there, management and metrics on the next two.
        torchserve_host: LAYOUTLOOP_TORCHSERVE_HOST, where its inference and metrics listen; management is on loopback.
        torchserve_url: LAYOUTLOOP_TORCHSERVE_URL, nodes elsewhere: addresses, or a name that has several; "" is here.
        node_silent_s: LAYOUTLOOP_NODE_SILENT_S, a node whose report is older no longer holds up a promotion.
        allow_open_bind: LAYOUTLOOP_ALLOW_OPEN_BIND, listen beyond loopback without Basic auth (TorchServe: keys).
        image_hosts: LAYOUTLOOP_IMAGE_HOSTS, other hosts that images may come from; `*.example.org` is a wildcard.
        image_networks: LAYOUTLOOP_IMAGE_NETWORKS, private networks (CIDR) that those hosts may be in.
        max_image_bytes: LAYOUTLOOP_MAX_IMAGE_BYTES, of one page image.
        score_threshold: LAYOUTLOOP_SCORE_THRESHOLD, labelled regions below it are not drawn.
        read_only_boxes: LAYOUTLOOP_READ_ONLY_BOXES, drawn boxes cannot be moved.
        deadline_s: LAYOUTLOOP_DEADLINE_S, time for one predict; Label Studio gives up at 100 s.
        max_predicts: LAYOUTLOOP_MAX_PREDICTS, predicts answered at a time; further ones get [] at once.
        max_tasks: LAYOUTLOOP_MAX_TASKS, of one predict; a request with more is refused.
        max_waiting_pages: LAYOUTLOOP_MAX_WAITING_PAGES, pages that may wait or run in the background.
        ocr_workers: LAYOUTLOOP_OCR_WORKERS, worker processes of model `ocr`.
        project_workers: LAYOUTLOOP_PROJECT_WORKERS, worker processes of each project's model that is not idle.
        idle_s: LAYOUTLOOP_IDLE_S, seconds without a page after which a project has no worker; 0 is never.
        train_every: LAYOUTLOOP_TRAIN_EVERY, new annotations that start a training by themselves; 0 is never.
        prelabel: LAYOUTLOOP_PRELABEL, how many of the tasks that people meet next are drawn anew by themselves; 0 is
            none, EVERY_TASK all.
        prelabel_remove_old: LAYOUTLOOP_PRELABEL_REMOVE_OLD, older ones of ours there are deleted, but for the last.
        shim_url: LAYOUTLOOP_SHIM_URL, where the trainer reaches the shim; "" is here.
        redis_url: REDIS_URL (or REDIS_HOST and REDIS_PORT), where jobs are kept, and locks; without it, in files.
        log_level: LAYOUTLOOP_LOG_LEVEL.
    """

    label_studio_url: str = "http://localhost:8080"
    label_studio_api_key: str | Path = field(default="", repr=False)
    basic_auth_user: str = ""
    basic_auth_pass: str = field(default="", repr=False)
    model_dir: StorePath = Path("model_store")
    home: Path = Path("var")
    host: str = "127.0.0.1"
    port: int = 9090
    hosts: tuple[str, ...] = ()
    torchserve_port: int = 7080
    torchserve_host: str = LOOPBACK
    torchserve_url: str = ""
    node_silent_s: float = 30.0
    allow_open_bind: bool = False
    image_hosts: tuple[str, ...] = ()
    image_networks: tuple[str, ...] = ()
    max_image_bytes: int = 32 * 2**20
    score_threshold: float = 0.0
    read_only_boxes: bool = False
    deadline_s: float = 90.0
    max_predicts: int = 32
    max_tasks: int = 10_000
    max_waiting_pages: int = 2000
    ocr_workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    project_workers: int = field(default_factory=lambda: min(os.cpu_count() or 1, MOST_PROJECT_WORKERS))
    idle_s: float = 1800.0
    train_every: int = 10
    prelabel: int = 1000
    prelabel_remove_old: bool = False
    shim_url: str = ""
    redis_url: str = field(default="", repr=False)
    log_level: str = "INFO"

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming the variable."""
        if not is_address(self.label_studio_url):
            found = self.label_studio_url.rpartition("@")[2]  # what stands before it may be a password
            raise SettingsInvalid(f"LABEL_STUDIO_URL is like http://localhost:8080, got {found!r}")
        if bool(self.basic_auth_user) != bool(self.basic_auth_pass):
            raise SettingsInvalid("BASIC_AUTH_USER and BASIC_AUTH_PASS belong together; only one of them is set")
        if not self.basic_auth_user and not self.allow_open_bind and not is_loopback(self.host):
            raise SettingsInvalid(
                f"LAYOUTLOOP_HOST={self.host} is reachable from other machines: set BASIC_AUTH_USER and "
                "BASIC_AUTH_PASS, or LAYOUTLOOP_ALLOW_OPEN_BIND=1 if something else keeps strangers out"
            )
        self._check_torchserve()
        if self.shim_url and not is_address(self.shim_url):
            raise SettingsInvalid("LAYOUTLOOP_SHIM_URL is like http://shim:9090, without user and password")
        if not 0 <= self.score_threshold <= 1:
            raise SettingsInvalid(f"LAYOUTLOOP_SCORE_THRESHOLD is between 0 and 1, got {self.score_threshold}")
        for name in ("port", "torchserve_port"):
            if not 1 <= getattr(self, name) <= 65535:
                raise SettingsInvalid(f"LAYOUTLOOP_{name.upper()} is between 1 and 65535, got {getattr(self, name)}")
        for name in _ABOVE_ZERO:
            if not 0 < getattr(self, name) < math.inf:
                raise SettingsInvalid(f"LAYOUTLOOP_{name.upper()} is above 0, got {getattr(self, name)}")
        for name in ("idle_s", "train_every", "prelabel"):
            if not getattr(self, name) >= 0:
                raise SettingsInvalid(f"LAYOUTLOOP_{name.upper()} is 0 (never) or more, got {getattr(self, name)}")
        self._check_store()
        if self.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise SettingsInvalid(f"LAYOUTLOOP_LOG_LEVEL is DEBUG, INFO, WARNING or ERROR, got {self.log_level!r}")
        parse_host_rules(self.image_hosts)
        check_host_names(self.hosts)
        check_networks(self.image_networks)

    def _check_store(self) -> None:
        if not isinstance(self.model_dir, Path) and not self.redis_url:
            raise SettingsInvalid(
                f"MODEL_DIR={self.model_dir} has no locks of its own: set REDIS_URL, where all machines lock projects"
            )
        if not isinstance(self.model_dir, Path) and self.node_silent_s < LEAST_SILENT_S:
            raise SettingsInvalid(
                f"LAYOUTLOOP_NODE_SILENT_S is at least {LEAST_SILENT_S:g} where MODEL_DIR is a URL, got "
                f"{self.node_silent_s:g}: one hiccup of the store would make all nodes silent"
            )
        if self.redis_url and not is_redis(self.redis_url):
            raise SettingsInvalid(
                "REDIS_URL is like redis://localhost:6379/0 or rediss://...; the one given is not, and is not shown, "
                "since it may hold a password"
            )

    def _check_torchserve(self) -> None:
        if self.torchserve_host != LOOPBACK and not self.allow_open_bind:
            raise SettingsInvalid(
                f"LAYOUTLOOP_TORCHSERVE_HOST={self.torchserve_host} is not {LOOPBACK}: TorchServe then has no keys, "
                "since other machines have none; set LAYOUTLOOP_ALLOW_OPEN_BIND=1 if something else keeps strangers out"
            )
        for url in self.torchserve_urls if self.torchserve_url else ():
            if not is_node_address(url):
                found = url.rpartition("@")[2]
                raise SettingsInvalid(f"LAYOUTLOOP_TORCHSERVE_URL is like http://torchserve:7080, got {found!r}")

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read the environment; names not set, or empty, keep their defaults.

        Raises:
            SettingsInvalid: a value that cannot be used, a name with our prefix that does not exist, or a name
                of the old Label Studio ML backend that means nothing any more.
        """
        _refuse_unknown(environ)
        values: dict[str, object] = {}
        for name, default in _defaults().items():
            variable = variable_of(name)
            text = _lookup(environ, variable)
            if name == "redis_url":
                text = text or redis_address(environ)
            if text:
                values[name] = _READERS[name](text) if name in _READERS else convert(variable, text, default)
        if key_file := _key_file(environ):
            values["label_studio_api_key"] = key_file
        return cls(**values)  # type: ignore[arg-type]

    @property
    def own_torchserve_url(self) -> str:
        """Address of the inference interface of this machine's TorchServe."""
        return f"http://{reachable(self.torchserve_host)}:{self.torchserve_port}"

    @property
    def torchserve_urls(self) -> tuple[str, ...]:
        """Addresses where predictions are requested; each name in them may mean several nodes."""
        return tuple(url.strip() for url in (self.torchserve_url or self.own_torchserve_url).split(","))

    @property
    def token_path(self) -> Path | None:
        """Where this machine's TorchServe writes its tokens; None where it requires none."""
        return self.home / "torchserve" / "key_file.json" if self.torchserve_host == LOOPBACK else None

    def open_store(self) -> ModelStore:
        """Return the model store with its locks, for a process that changes it; once for each process."""
        return ModelStore.open(self.model_dir, self.redis_url)

    @property
    def jobs_url(self) -> str:
        """Address of the job records: Redis where it is set, else an SQLite file."""
        return self.redis_url or f"sqlite://{quote(str((self.home / 'jobs.db').resolve()))}"


_READERS = {"model_dir": store_path, "prelabel": task_count}
_OWN_NAMES = (
    *("label_studio_url", "label_studio_api_key", "basic_auth_user", "basic_auth_pass"),
    *("model_dir", "redis_url"),
)
"""Settings whose environment names people already know; the rest begin with LAYOUTLOOP_."""


def variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    return name.upper() if name in _OWN_NAMES else f"LAYOUTLOOP_{name.upper()}"


def _defaults() -> dict[str, object]:
    defaults = Settings()
    return {name: getattr(defaults, name) for name in Settings.__slots__}


def _lookup(environ: Mapping[str, str], variable: str) -> str:
    for name in (variable, *ALIASES.get(variable, ())):
        text = environ.get(name, "").strip()
        # HOSTNAME is also what shells call this machine; only an address is meant for us.
        if text and (name != "HOSTNAME" or text.startswith(("http://", "https://"))):
            return text
    return ""


def _key_file(environ: Mapping[str, str]) -> Path | None:
    """Return the file that holds Label Studio's key; not resolved, for its links may move."""
    text = environ.get(KEY_FILE_VARIABLE, "").strip()
    if not text:
        return None
    if _lookup(environ, KEY_VARIABLE):
        names = " or ".join((KEY_VARIABLE, *ALIASES[KEY_VARIABLE]))
        raise SettingsInvalid(f"{KEY_FILE_VARIABLE} is set, and so is {names}: the key comes from one place, unset one")
    path = Path(text)
    if not path.is_absolute():  # what is started runs in several folders
        raise SettingsInvalid(
            f"{KEY_FILE_VARIABLE} is the absolute path of a file; the one given is not, and is not shown, since it may "
            "be the key itself"
        )
    return path


def refuse_mistyped(environ: Mapping[str, str]) -> None:
    """See that every name with our prefix is a setting; `training` judges those of a training.

    Raises:
        SettingsInvalid: one is not.
    """
    known = {variable_of(name) for name in Settings.__slots__} | READ_ELSEWHERE
    for name in environ:
        if name.startswith("LAYOUTLOOP_") and name not in known and not name.startswith("LAYOUTLOOP_TRAIN_"):
            raise SettingsInvalid(f"{name} is no setting of LayoutLoop; docs/settings.md lists them all")


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    refuse_mistyped(environ)
    for name in environ:
        if name in GONE and environ[name].strip():
            raise SettingsInvalid(f"{name} means nothing here: {GONE[name]}")
    if (environ.get("LABEL_STUDIO_ML_BACKEND_V2") or "true").lower() not in TRUE:
        raise SettingsInvalid("LABEL_STUDIO_ML_BACKEND_V2: only the V2 protocol is spoken; unset it")
