"""The fast forward pass against the transformers model that it was made of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LayoutLMv3Config, LayoutLMv3ForTokenClassification

from handler.errors import CheckpointInvalid
from handler.tagging.encoding import LENGTH_STEP
from handler.tagging.fast_encoder import FastLayoutLM, patch_boxes
from handler.tagging.position_bias import buckets
from handler.tagging.weights import Linear, Weights

PAD = 1
LENGTHS = (7, 30, 30, 41)

VARIANTS = [
    pytest.param({}, id="text"),
    pytest.param({"visual_embed": True}, id="image"),
    pytest.param({"visual_embed": True, "input_size": 64, "patch_size": 32}, id="few large patches"),
    pytest.param({"num_labels": 13}, id="a head of two layers"),
    pytest.param({"hidden_act": "relu"}, id="another activation"),
    pytest.param({"has_spatial_attention_bias": False}, id="no bias for boxes"),
    pytest.param({"has_relative_attention_bias": False}, id="no bias at all"),
    pytest.param({"pad_token_id": 0}, id="padding is token 0, as in a graft"),
]


def make_model(dtype: torch.dtype = torch.float32, seed: int = 0, **changes: Any) -> LayoutLMv3ForTokenClassification:
    """Return a random model whose answers depend on words, boxes and image."""
    settings = {
        "vocab_size": 60,
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 80,
        "coordinate_size": 8,
        "shape_size": 8,
        "visual_embed": False,
        "initializer_range": 0.4,
        "num_labels": 5,
        "pad_token_id": PAD,
    }
    torch.manual_seed(seed)
    model = LayoutLMv3ForTokenClassification(LayoutLMv3Config(**settings | changes))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "bias" in name or "cls_token" in name or "pos_embed" in name:
                weight.normal_(std=0.5)  # they start at zero, where an error would not show
    return model.eval().to(dtype)


def make_batch(model: LayoutLMv3ForTokenClassification) -> dict[str, torch.Tensor]:
    """Return windows of several lengths, one of them twice; a pad token stands among the words of the last."""
    generator = torch.Generator().manual_seed(1)
    config, longest = model.config, max(LENGTHS)
    mask = torch.tensor([[int(place < length) for place in range(longest)] for length in LENGTHS])
    ids = torch.randint(2, config.vocab_size, mask.shape, generator=generator)
    ids[-1, 5] = config.pad_token_id
    corners = torch.randint(0, 1001, (*mask.shape, 2, 2), generator=generator).sort(dim=2).values
    batch = {
        "input_ids": ids.where(mask.bool(), torch.tensor(config.pad_token_id)),
        "attention_mask": mask,
        "bbox": corners.flatten(2) * mask[..., None],
    }
    if config.visual_embed:
        size = (len(LENGTHS), 3, config.input_size, config.input_size)
        batch["pixel_values"] = torch.randn(size, generator=generator).to(model.dtype)
    return batch


def answers(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return (text tokens, labels) float32, without padding."""
    with torch.inference_mode():
        logits: torch.Tensor = model(**batch).logits
    assert logits.shape[:2] == batch["input_ids"].shape
    return logits[batch["attention_mask"].bool()].float()


@pytest.mark.parametrize("keep_padding", [False, True], ids=["packed", "padded"])
@pytest.mark.parametrize("changes", VARIANTS)
def test_logits_are_those_of_transformers(changes: dict[str, Any], keep_padding: bool) -> None:
    model = make_model(**changes)
    batch = make_batch(model)
    expected = answers(model, batch)
    assert expected.std(dim=0).max() > 0.1, "the answers differ from token to token"
    torch.testing.assert_close(
        answers(FastLayoutLM(model, keep_padding=keep_padding), batch), expected, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("keep_padding", [False, True], ids=["packed", "padded"])
@pytest.mark.parametrize("image", [False, True], ids=["text", "image"])
def test_bfloat16_is_as_near_as_that_of_transformers(image: bool, keep_padding: bool) -> None:
    """Over ten models, for rounding favours one or the other in each."""
    theirs = ours = 0.0
    for seed in range(10):
        exact = make_model(seed=seed, visual_embed=image)
        expected = answers(exact, make_batch(exact))
        model = make_model(torch.bfloat16, seed, visual_embed=image)
        batch = make_batch(model)
        theirs += (answers(model, batch) - expected).square().mean().item()
        fast = FastLayoutLM(model, keep_padding=keep_padding)
        ours += (answers(fast, batch) - expected).square().mean().item()
    assert 0 < ours < 1.2 * theirs


@pytest.mark.parametrize("keep_padding", [False, True], ids=["packed", "padded"])
def test_no_window_sees_its_neighbours(keep_padding: bool) -> None:
    model = make_model(visual_embed=True)
    fast = FastLayoutLM(model, keep_padding=keep_padding)
    batch = make_batch(model)
    before = answers(fast, batch)
    batch["pixel_values"][0] = torch.nan
    batch["bbox"][0] = 1000 - batch["bbox"][0]
    after = answers(fast, batch)
    assert after[: LENGTHS[0]].isnan().all()
    torch.testing.assert_close(after[LENGTHS[0] :], before[LENGTHS[0] :], atol=1e-5, rtol=0)


def test_a_cpu_meets_few_lengths() -> None:
    """oneDNN prepares its products anew for each number of rows, which would double the time of a lone page."""
    fast = FastLayoutLM(make_model(torch.bfloat16), keep_padding=False)
    rows = set()
    for tokens in range(2, 2 * LENGTH_STEP + 1, 9):
        mask = (torch.arange(3 * LENGTH_STEP) < tokens).long()[None]
        ids = PAD + mask
        with torch.inference_mode(), torch.profiler.profile(record_shapes=True) as profile:
            fast(ids, mask, torch.zeros(*ids.shape, 4, dtype=torch.long))
        rows |= {event.input_shapes[0][0] for event in profile.events() if "linear" in event.name}
    assert rows == {LENGTH_STEP, 2 * LENGTH_STEP}


@pytest.mark.parametrize(
    ("bins", "furthest"), [pytest.param(32, 128, id="reading order"), pytest.param(64, 256, id="boxes")]
)
def test_buckets_are_those_of_transformers(bins: int, furthest: int) -> None:
    expected = make_model().layoutlmv3.encoder.relative_position_bucket(
        torch.arange(-1023, 1024), num_buckets=bins, max_distance=furthest
    )
    assert buckets(1023, bins, furthest, torch.device("cpu")).tolist() == expected.tolist()


@pytest.mark.parametrize("side", [1, 7, 14])
def test_boxes_of_patches_are_those_of_transformers(side: int) -> None:
    expected = make_model(visual_embed=True).layoutlmv3.create_visual_bbox((side, side))
    assert patch_boxes(side).tolist() == expected.tolist()


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_linear(dtype: torch.dtype, gelu: bool) -> None:
    torch.manual_seed(0)
    weight, bias, rows = (torch.randn(*shape).to(dtype) for shape in ((24, 40), (24,), (9, 40)))
    expected = torch.nn.functional.linear(rows.double(), weight.double(), bias.double())
    expected = torch.nn.functional.gelu(expected) if gelu else expected
    product = Linear.of(weight, bias, gelu)(rows)
    assert product.dtype == dtype
    torch.testing.assert_close(product.double(), expected, atol=0.2 if dtype == torch.bfloat16 else 1e-4, rtol=0.01)


def test_a_weight_that_is_missing_is_named() -> None:
    model = make_model()
    del model.layoutlmv3.encoder.layer[1].attention.self.key.bias
    with pytest.raises(CheckpointInvalid, match=r"no weight layoutlmv3\.encoder\.layer\.1\.attention\.self\.key\.bias"):
        FastLayoutLM(model, keep_padding=False)


def test_a_weight_of_another_shape_is_named() -> None:
    with pytest.raises(CheckpointInvalid, match=r"classifier\.bias must have shape \(5,\), got \(3,\)"):
        Weights({"classifier.bias": torch.zeros(3)}).take("classifier.bias", 5)
