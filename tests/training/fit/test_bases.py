from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import LiltModel

from layoutloop.errors import BaseUnavailable
from layoutloop.settings.training import MINILM_BASE
from tests.checkpoints import make_checkpoint, make_lilt_checkpoint, word_piece
from training.fit.bases import RECIPES, continue_from, kind_of, make_base, uses_image

LABELS = ("total", "date")


@pytest.mark.parametrize(
    ("base", "kind"),
    [
        pytest.param("graft:minilm", "graft", id="the default"),
        pytest.param("graft:/models/bert", "graft", id="graft of a folder"),
        pytest.param("scratch", "scratch", id="scratch"),
        pytest.param("microsoft/layoutlmv3-base", "checkpoint", id="hub name"),
    ],
)
def test_kind_of(base: str, kind: str) -> None:
    assert kind_of(base) == kind


def test_minilm_is_there_without_a_hub() -> None:
    base = make_base(MINILM_BASE, LABELS)
    assert base.model.config.hidden_size == 384
    assert base.model.config.id2label == {0: "O", 1: "B-total", 2: "I-total", 3: "B-date", 4: "I-date"}
    assert not base.model.config.visual_embed


@pytest.mark.parametrize("image", [pytest.param(False, id="text and layout"), pytest.param(True, id="with image")])
def test_new_weights_of_a_graft_are_named(image: bool) -> None:
    base = make_base(MINILM_BASE, LABELS, image=image)
    fresh = {name for name, _ in base.model.named_parameters() if name.startswith(base.fresh)}
    assert {"classifier.weight", "layoutlmv3.embeddings.x_position_embeddings.weight"} <= fresh
    assert ("layoutlmv3.patch_embed.proj.weight" in fresh) == image
    assert not any("encoder.layer" in name or "word_embeddings" in name for name in fresh)
    assert uses_image(MINILM_BASE, image) == image


def test_a_checkpoint_gets_a_head_for_the_labels(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, labels=("other",), visual_embed=True)
    base = make_base(str(folder), LABELS)
    assert base.kind == "checkpoint"
    assert base.model.config.num_labels == 5
    assert uses_image(str(folder), False)


def test_a_lilt_gets_a_head_for_the_labels(tmp_path: Path) -> None:
    folder = make_lilt_checkpoint(tmp_path, labels=("other",))
    base = make_base(str(folder), LABELS)
    assert (base.kind, base.fresh, base.model.config.model_type) == ("checkpoint", ("classifier",), "lilt")
    assert base.model.config.id2label == {0: "O", 1: "B-total", 2: "I-total", 3: "B-date", 4: "I-date"}
    kept, before = base.model.state_dict(), load_file(folder / "model.safetensors")
    assert kept["classifier.weight"].shape == (5, 48)
    for name in before.keys() - {"classifier.weight", "classifier.bias"}:
        assert torch.equal(kept[name], before[name]), name
    assert not uses_image(str(folder), True), "it looks at no image"


def test_a_lilt_without_a_head_is_a_base(tmp_path: Path) -> None:
    """As published: `LiltModel`, whose weights have no prefix."""
    folder = make_lilt_checkpoint(tmp_path)
    bare = LiltModel.from_pretrained(folder)
    before = bare.encoder.layer[1].layout_output.dense.weight
    bare.save_pretrained(folder)
    base = make_base(str(folder), LABELS)
    assert torch.equal(base.model.lilt.encoder.layer[1].layout_output.dense.weight, before)
    assert "lilt.pooler.dense.weight" not in base.model.state_dict()


def test_a_base_that_is_too_short_to_serve_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    """A LiLT beside a BERT has positions for 511 tokens: it counts from behind the padding token, as RoBERTa does."""
    folder = make_lilt_checkpoint(tmp_path, max_position_embeddings=513)
    with pytest.raises(BaseUnavailable, match="positions for 511 tokens, and a window has 512"):
        make_base(str(folder), LABELS)


def test_a_lilt_with_the_tokenizer_of_another_text_half_is_refused(tmp_path: Path) -> None:
    folder = make_lilt_checkpoint(tmp_path)
    word_piece().save_pretrained(folder)
    with pytest.raises(BaseUnavailable, match="not that of the LiLT's text half: its padding token has id 0, and"):
        make_base(str(folder), LABELS)


def test_continuing_a_lilt_keeps_the_rows_of_the_head_by_label(tmp_path: Path) -> None:
    """Ten labels are two layers in a LayoutLMv3's head; a LiLT's has one."""
    labels = tuple(f"label{index}" for index in range(10))
    folder = make_lilt_checkpoint(tmp_path, labels=("label9", "vendor"))
    before = make_base(str(folder), ("label9", "vendor"))
    after = continue_from(folder, str(folder), labels)
    assert torch.equal(after.model.classifier.weight[19], before.model.classifier.weight[1]), "B-label9"
    assert after.kind == "checkpoint"


def test_continuing_keeps_the_rows_of_the_head_by_label(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, tokenizer=word_piece(), labels=("date", "vendor"))
    before = make_base(str(folder), ("date", "vendor"))
    after = continue_from(folder, MINILM_BASE, ("total", "date"))
    old, new = before.model.classifier, after.model.classifier
    assert torch.equal(new.weight[3], old.weight[1]), "B-date moved from row 1 to row 3"
    assert torch.equal(new.weight[4], old.weight[2])
    assert torch.equal(new.weight[0], old.weight[0])
    for row in (1, 2):
        assert not any(torch.equal(new.weight[row], other) for other in old.weight), "total is new"
    assert after.kind == "graft", "the recipe is that of what the version was trained from"


@pytest.mark.parametrize(
    ("base", "said"),
    [
        pytest.param("graft:somewhere/nothing-here", "graft:minilm", id="graft of an unknown name"),
        pytest.param("somewhere/nothing-here", "HF_ENDPOINT", id="unknown hub name"),
    ],
)
def test_a_base_that_cannot_be_had_says_what_to_set(base: str, said: str) -> None:
    for ask in (lambda: make_base(base, LABELS), lambda: uses_image(base.removeprefix("graft:"), False)):
        with pytest.raises(BaseUnavailable, match="LAYOUTLOOP_TRAIN_BASE") as caught:
            ask()
        assert said in str(caught.value)


def test_a_text_encoder_is_no_checkpoint() -> None:
    from training.fit.graft import minilm_folder

    with pytest.raises(BaseUnavailable, match="it is a bert model; a base is a LayoutLMv3 or a LiLT, or graft:"):
        make_base(str(minilm_folder()), LABELS)


@pytest.mark.parametrize("kind", sorted(RECIPES))
@pytest.mark.parametrize("windows", [1, 3, 10, 40, 1000])
def test_epochs_stay_in_their_bounds(kind: str, windows: int) -> None:
    recipe = RECIPES[kind]  # type: ignore[index]
    assert recipe.min_epochs <= recipe.epochs(windows, recipe.batch_pages) <= recipe.max_epochs
