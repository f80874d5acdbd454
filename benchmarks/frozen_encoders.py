"""What encoders of bases tell by themselves about real receipts: a linear head on each, nothing of it trained.

`python -m benchmarks.frozen_encoders --data DIR --test DIR --work DIR --base graft:minilm --base graft:FOLDER` takes
seconds where `benchmarks.few_pages` takes hours: both sides get the same draws, words given, a box a line, and boxes
are decoded as served, with what was learned about them. No page of --test trains or chooses.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from benchmarks.few_pages import drawn_in_order
from benchmarks.sroie import FIELDS, GIVEN, read_examples
from benchmarks.timing import machine
from handler.page import TaggedPage
from handler.tagging.decoding import decode
from handler.tagging.encoding import Encoder, collate
from handler.tagging.labels import LabelSet
from layoutloop.settings.training import MINILM_BASE
from training.data.examples import Example
from training.fit.bases import Base, make_base
from training.fit.box_prior import learn_prior
from training.measure.scoring import Found, Scores, score

TAGS = LabelSet.from_names(FIELDS)
STRENGTH = 0.03
"""Inverse of the penalty on weights (scikit-learn's C), set before any page was tested; inputs are standardised."""
_NEVER = -12.0
"""Logit of a tag that no training page has."""

Features = Mapping[int, NDArray[np.float32]]
"""Task -> (words, width) what the last layer says of each word's first token."""


@torch.inference_mode()
def features(base: Base, examples: Sequence[Example]) -> Features:
    """Run the encoder over pages."""
    pad = base.tokenizer.pad_token_id or 0
    encoder = Encoder(base.tokenizer.backend_tokenizer, pad, box_level="lines", uses_image=False)
    found = {}
    for example in examples:
        told = np.zeros((len(example.page.words), base.model.config.hidden_size), np.float32)
        for window in encoder.encode(example.page).windows:
            batch = collate([(window, None)], pad)
            inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "bbox": batch.bbox}
            told[window.words] = base.model.layoutlmv3(**inputs).last_hidden_state[0].numpy()[window.positions]
        found[example.task] = told
    return found


def head_scores(
    learned: Sequence[Example], told: Features, tested: Sequence[Example], told_of_tested: Features
) -> Scores:
    """Fit the head on annotated pages and score its boxes on others."""
    inputs = np.concatenate([told[one.task] for one in learned])
    middle, spread = inputs.mean(0), inputs.std(0) + 1e-6
    tags = np.concatenate([one.tags(TAGS) for one in learned])
    head = LogisticRegression(C=STRENGTH, max_iter=300).fit((inputs - middle) / spread, tags)
    prior = learn_prior(learned, FIELDS)
    answers = []
    for one in tested:
        logits = np.full((len(one.page.words), len(TAGS.tags)), _NEVER, np.float32)
        logits[:, head.classes_] = head.decision_function((told_of_tested[one.task] - middle) / spread)
        answers.append(TaggedPage(decode(one.page, logits, TAGS, prior), 1))
    return score(tested, answers, FIELDS)


def main() -> None:
    """Print a row for each base and number of pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="of SROIE: with box/, key/ and img/")
    parser.add_argument("--test", type=Path, required=True, metavar="DIR", help="likewise: the pages that are tested")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="for what is read")
    parser.add_argument("--base", action="append", help=f"several times for several (default: {MINILM_BASE})")
    parser.add_argument("--pages", type=int, nargs="+", default=[10, 80])
    parser.add_argument("--draws", type=int, default=3)
    given = parser.parse_args()
    print(machine())
    examples, tested = (read_examples(folder, GIVEN, given.work) for folder in (given.data, given.test))
    print("| base | pages | F1 | each draw | right / other box / not found |\n|---|---|---|---|---|")
    for name in given.base or [MINILM_BASE]:
        base = make_base(name, FIELDS)
        base.model.eval()
        told, told_of_tested = features(base, examples), features(base, tested)
        for pages in given.pages:
            drawn = [drawn_in_order(examples, draw)[:pages] for draw in range(given.draws)]
            rows = [head_scores(one, told, tested, told_of_tested) for one in drawn]
            f1 = [row.overall.f1 for row in rows]
            found = Found.on([page for row in rows for page in row.pages])
            assert found is not None
            boxes = f"{found.right} / {found.other_box} / {found.missed}"
            each = ", ".join(f"{value:.3f}" for value in f1)
            print(f"| {Path(name).name} | {pages} | {mean(f1):.3f} | {each} | {boxes} |", flush=True)


if __name__ == "__main__":
    main()
