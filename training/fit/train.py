"""Examples to a checkpoint, with the Hugging Face Trainer: `python -m training.fit.train FOLDER`.

A process of its own, so that `torchrun` can start one for each GPU, and so that its end takes nothing along. The
folder holds all that it reads (`plan.json`, `training.jsonl`, `validation.jsonl`) and gets all that it makes:
`steps/` (checkpoints from which a later try resumes), `logs/` (TensorBoard), `progress.json`, and in the end
`checkpoint/`, whose name appears when it is whole.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from tensorboardX import SummaryWriter
from transformers import EarlyStoppingCallback, TrainingArguments, set_seed
from transformers.integrations.integration_utils import TensorBoardCallback

from handler.tagging.box_prior import FILE as BOX_PRIOR
from handler.tagging.box_prior import BoxPrior
from handler.tagging.labels import LabelSet
from handler.tagging.layoutlm import respect_thread_limit
from handler.tagging.tagger import TaggerSettings
from layoutloop.errors import TrainingError, TrainingRefused
from layoutloop.store.locks import file_lock
from layoutloop.store.writing import write_json
from training.data.examples import Example, pages_of, read_examples
from training.fit.bases import RECIPES, Base, Recipe, continue_from, make_base
from training.fit.box_prior import learn_prior
from training.fit.callback import ProgressFile
from training.fit.plan import Plan
from training.fit.process import REFUSED
from training.fit.trainer import EntityTrainer, last_whole, trainer_arguments, whole_batch
from training.fit.variation import Variation
from training.fit.windows import WindowCollator, Windows

LEAST_VALIDATION_PAGES = 5
"""With fewer, the F1 of one moment is chance: no early stopping, and the last weights are taken."""
PATIENCE = 4
"""So many evaluations without a better F1 end a training."""
INTERRUPTED = 75
"""Exit status of a training that was interrupted and can be resumed (EX_TEMPFAIL of sysexits.h)."""


def train(folder: Path) -> bool:
    """Train what `plan.json` says; a folder in which a try was cut off goes on where that one was.

    Returns:
        False where SIGTERM came before the end; the state is kept.

    Raises:
        TrainingError: the base cannot be loaded, or there is nothing to learn from.
    """
    respect_thread_limit()
    plan = Plan.read(folder)
    training, validation = (read_examples(folder / f"{name}.jsonl") for name in ("training", "validation"))
    set_seed(plan.seed)
    base = _base(plan, training)
    recipe = RECIPES[base.kind]
    vary = Variation.of(training) if recipe.vary else None
    windows = Windows(base, training, LabelSet.from_names(plan.labels), plan.box_level, vary=vary)
    if not len(windows):
        raise TrainingRefused("no training page has a word that the tokenizer knows; is the OCR language right?")
    keep_best = len(validation) >= LEAST_VALIDATION_PAGES
    arguments = _arguments(folder, plan, recipe, len(windows), keep_best)
    prior = learn_prior(training, plan.labels)
    progress = ProgressFile(folder, is_writer=arguments.process_index == 0)
    callbacks = [progress, _tensor_board(folder / "logs")]
    trainer = EntityTrainer(
        base,
        recipe.new_factor,
        TaggerSettings(max_tokens=windows.max_tokens, stride=windows.stride, box_level=plan.box_level),
        validation,
        prior,
        args=arguments,
        train_dataset=windows,
        data_collator=WindowCollator(base.tokenizer.pad_token_id or 0, jitter=recipe.vary),
        callbacks=callbacks + ([EarlyStoppingCallback(PATIENCE)] if keep_best else []),
    )
    signal.signal(signal.SIGTERM, progress.stop)
    trainer.train(resume_from_checkpoint=last_whole(folder / "steps"))
    if not progress.stopped and trainer.is_world_process_zero():
        _save(trainer, base, prior, folder)
    return not progress.stopped


def _arguments(folder: Path, plan: Plan, recipe: Recipe, windows: int, keep_best: bool) -> TrainingArguments:
    batch = whole_batch(plan.batch_pages or recipe.batch_pages)
    epochs = plan.epochs or recipe.epochs(windows, batch)
    return trainer_arguments(
        folder / "steps",
        learning_rate=plan.learning_rate or recipe.learning_rate,
        epochs=epochs,
        batch=batch,
        steps=-(-windows // batch) * epochs,
        seed=plan.seed,
        keep_best=keep_best,
    )


def _tensor_board(logs: Path) -> TensorBoardCallback:
    logs.mkdir(exist_ok=True)  # SummaryWriter fails where another process makes it at the same time
    return TensorBoardCallback(SummaryWriter(str(logs)))  # type: ignore[no-untyped-call]


def _base(plan: Plan, training: Sequence[Example]) -> Base:
    if plan.continue_from is not None:
        return continue_from(Path(plan.continue_from), plan.base, plan.labels)
    words = [word.text for page in pages_of(training) for word in page.words]
    return make_base(plan.base, plan.labels, image=plan.image, words=words)


def _save(trainer: EntityTrainer, base: Base, prior: BoxPrior | None, folder: Path) -> None:
    partial = folder / "checkpoint.partial"
    shutil.rmtree(partial, ignore_errors=True)
    trainer.save_model(str(partial))
    base.tokenizer.save_pretrained(partial)
    if prior is not None:
        write_json(partial / BOX_PRIOR, prior.to_json())
    os.replace(partial, folder / "checkpoint")


def main(arguments: Sequence[str]) -> int:
    """Train; 75 where it was interrupted and can be resumed, 65 where it would be refused again."""
    folder = Path(arguments[0])
    try:
        with file_lock(folder / "steps", "steps") if os.environ.get("RANK", "0") == "0" else nullcontext():
            return 0 if train(folder) else INTERRUPTED
    except TrainingError as error:
        (folder / "refusal.txt").write_text(str(error))
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - its log is read by a person
        return REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
