"""A base that has seen generated documents before a project's first page: made by a command, kept by its content."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

import torch
from transformers import set_seed

from handler.tagging.labels import LabelSet
from handler.tagging.layoutlm import respect_thread_limit
from handler.tagging.tagger import TaggerSettings
from layoutloop.store.locks import file_lock
from training.data.examples import example_to_json
from training.fit.bases import RECIPES, Base, make_base
from training.fit.trainer import EntityTrainer, last_whole, trainer_arguments, whole_batch
from training.fit.windows import WindowCollator, Windows
from training.generated.documents import LABELS, generated_documents

logger = logging.getLogger(__name__)

STEPS = 400
"""So many, each on new pages."""
SEED = 0
_SAMPLE = 64
"""The first so many pages stand for all that the generator would make."""


def make_documents_base(base: str, folder: Path, steps: int = STEPS) -> Path:
    """Train a graft on generated documents, with labels that say what each word is; return its folder.

    A base that the same encoder, pages and steps made before is taken as it is; one that was interrupted goes on.
    Projects begin at it with `graft:<folder>`: what it knows is in the encoder, the head is not kept.

    Args:
        base: the graft to begin at.
        folder: where bases are kept.
        steps: of the optimizer; each has as many new pages as the recipe of grafts says.

    Raises:
        BaseUnavailable: the text encoder cannot be loaded.
    """
    respect_thread_limit()
    set_seed(SEED)
    made = make_base(base, LABELS)
    # One layer alone reads what words are, as in projects of few labels: so the encoder must tell.
    made.model.classifier = torch.nn.Linear(made.model.config.hidden_size, len(LabelSet.from_names(LABELS).tags))
    place = folder / f"documents-{_key(made, steps)}"
    with file_lock(folder, place.name):
        if not place.is_dir():
            logger.info("making %s: %d steps on generated documents", place, steps)
            _train(made, steps, place)
    return place


def _key(made: Base, steps: int) -> str:
    """Return what tells bases apart: the weights that it begins at, and the pages that it sees."""
    digest = hashlib.sha256(f"{steps} {RECIPES['graft']}".encode())
    for name, weight in made.model.state_dict().items():
        digest.update(name.encode())
        digest.update(weight.numpy().tobytes())
    for page in generated_documents(_SAMPLE, SEED):
        digest.update(json.dumps(example_to_json(page), sort_keys=True).encode())
    return digest.hexdigest()[:12]


def _train(made: Base, steps: int, place: Path) -> None:
    recipe = RECIPES["graft"]
    batch = whole_batch(recipe.batch_pages)
    work = place.with_name(f"{place.name}.partial")
    # Half of the pages have words with the boxes of their lines: projects may be trained with either.
    windows = Windows(made, generated_documents(steps * batch, SEED), LabelSet.from_names(LABELS), "words")
    trainer = EntityTrainer(
        made,
        recipe.new_factor,
        TaggerSettings(),
        (),
        args=trainer_arguments(
            work / "steps",
            learning_rate=recipe.learning_rate,
            epochs=1,
            batch=batch,
            steps=-(-len(windows) // batch),
            seed=SEED,
            keep_best=False,
        ),
        train_dataset=windows,
        data_collator=WindowCollator(made.tokenizer.pad_token_id or 0, jitter=True),
    )
    trainer.train(resume_from_checkpoint=last_whole(work / "steps"))
    saved = work / "base"
    shutil.rmtree(saved, ignore_errors=True)
    kept = {name: weight for name, weight in made.model.state_dict().items() if not name.startswith("classifier.")}
    made.model.save_pretrained(saved, state_dict=kept)
    made.tokenizer.save_pretrained(saved)
    os.replace(saved, place)
    shutil.rmtree(work)
