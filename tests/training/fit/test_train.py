from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from handler.page import TaggedPage
from handler.tagging.box_prior import BoxPrior
from handler.tagging.tagger import Tagger
from layoutloop.errors import TrainingRefused
from tests.checkpoints import make_lilt_checkpoint, roberta_tokenizer
from tests.training.samples import LABELS, make_example, make_folder
from training.fit.process import run_training
from training.fit.progress import Progress
from training.fit.train import INTERRUPTED
from training.measure.scoring import score

LIMIT_S = 240.0


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "training.fit.train", str(folder)], stderr=subprocess.DEVNULL)


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[bytes]) -> Path:
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        whole = [path.parent for path in (folder / "steps").glob("checkpoint-*/trainer_state.json")]
        if whole:
            return whole[0]
        time.sleep(0.05)
    pytest.fail(f"no checkpoint came; the training's status is {process.poll()}")


def test_a_training_learns_its_pages(tmp_path: Path) -> None:
    """P31: the F1 that decides is that of entities on pages that were held out."""
    folder = make_folder(tmp_path, training=8, validation=5, epochs=60)
    told: list[Progress] = []
    last = run_training(folder, 1, told.append)
    examples = [make_example(2000 + task) for task in range(5)]
    tagger = Tagger.load(folder / "checkpoint")
    assert score(examples, tagger.tag([example.page for example in examples]), LABELS).overall.f1 > 0.9
    assert last.losses[-1][1] < last.losses[0][1] / 2
    assert last.f1s[-1][1] > 0.9
    assert told
    prior = BoxPrior.find(folder / "checkpoint", LABELS)
    assert prior is not None, "what was learned about boxes travels with the weights"
    assert tagger.prior is not None, "and decodes"
    assert tagger.prior.to_json() == prior.to_json()
    assert list((folder / "logs").glob("events.out.tfevents.*")), "TensorBoard logs"
    assert run_training(folder, 1, told.append) == last, "a second try finds it done"


def test_a_lilt_learns_its_pages(tmp_path: Path) -> None:
    """By the same steps as a LayoutLMv3: windows, evaluation along the way, early stopping, its own tokenizer kept."""
    texts = [" ".join(word.text for word in make_example(task).page.words) for task in range(8)]
    tokenizer = roberta_tokenizer(texts * 4)
    base = make_lilt_checkpoint(tmp_path / "base", tokenizer=tokenizer, labels=("other",), initializer_range=0.05)
    folder = make_folder(
        tmp_path / "job", training=8, validation=5, base=str(base), learning_rate=3e-3, epochs=40, batch_pages=1
    )
    last = run_training(folder, 1, lambda _: None)
    tagger = Tagger.load(folder / "checkpoint")
    assert tagger.model.architecture.name == "LiLT"
    examples = [make_example(2000 + task) for task in range(5)]
    assert score(examples, tagger.tag([example.page for example in examples]), LABELS).overall.f1 > 0.7
    assert last.losses[-1][1] < last.losses[0][1] / 2
    assert last.f1s[-1][1] > 0.9


@pytest.mark.parametrize("pages", [pytest.param(1, id="P31 one page"), pytest.param(2, id="P31 two pages")])
def test_tiny_sets(tmp_path: Path, pages: int) -> None:
    run_training(make_folder(tmp_path, training=pages), 1, lambda _: None)
    (answer,) = Tagger.load(tmp_path / "checkpoint").tag([make_example(5).page])
    assert isinstance(answer, TaggedPage)


def test_a_limit_on_threads_that_was_meant_for_tesseract(tmp_path: Path) -> None:
    """Without care torch's kernels leave parts of their results unwritten: NaN from the first step on."""
    folder = make_folder(tmp_path, training=2)
    environ = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    subprocess.run([sys.executable, "-m", "training.fit.train", str(folder)], env=environ, check=True)
    (answer,) = Tagger.load(folder / "checkpoint").tag([make_example(5).page])
    assert isinstance(answer, TaggedPage)


def test_a_killed_training_resumes_from_its_last_whole_checkpoint(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, training=8, epochs=40)
    process = start(folder)
    kept = wait_for_checkpoint(folder, process)
    process.kill()
    process.wait()
    assert not (folder / "checkpoint").exists()
    torn = folder / "steps" / "checkpoint-9999"  # what a kill while it was written leaves
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half")
    first_step = int(kept.name.rpartition("-")[2])
    steps: list[int] = []
    run_training(folder, 1, lambda progress: steps.append(progress.step))
    assert steps
    assert min(steps) >= first_step
    assert not torn.exists()


def test_a_training_that_is_asked_to_stop_keeps_its_state(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, training=8, epochs=400)
    process = start(folder)
    wait_for_checkpoint(folder, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == INTERRUPTED
    stopped_at = json.loads((folder / "progress.json").read_text())["step"]
    newest = max(int(path.name.rpartition("-")[2]) for path in (folder / "steps").glob("checkpoint-*"))
    assert newest == stopped_at
    assert not (folder / "checkpoint").exists()


def test_two_processes_train_one_model(tmp_path: Path) -> None:
    """As torchrun does it on several GPUs; here both compute on the CPU."""
    folder = make_folder(tmp_path, training=8, validation=5, epochs=3)
    run_training(folder, 2, lambda _: None)
    assert Tagger.load(folder / "checkpoint").labels.names == LABELS


def test_what_cannot_be_trained_is_said(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, base=str(tmp_path / "nowhere"))
    with pytest.raises(TrainingRefused, match="LAYOUTLOOP_TRAIN_BASE"):
        run_training(folder, 1, lambda _: None)


def test_who_is_told_can_stop_it(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, training=8, epochs=400)

    def told(_: Progress) -> None:
        raise TimeoutError("enough")

    with pytest.raises(TimeoutError):
        run_training(folder, 1, told)
    assert not [process for process in psutil.process_iter(["cmdline"]) if str(folder) in str(process.info["cmdline"])]
