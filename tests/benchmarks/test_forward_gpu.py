import argparse

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import LayoutLMv3Config, LayoutLMv3ForTokenClassification

from benchmarks.forward_gpu import on_the_gpu, products
from handler.tagging.fast_encoder import FastLayoutLM

TOKENS = 40


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        pytest.param(False, 7, id="text only"),
        pytest.param(True, 7, id="image"),
        pytest.param(True, 12, id="a head of two products"),
    ],
)
def test_products_are_those_that_torch_counts(image: bool, labels: int) -> None:
    config = LayoutLMv3Config(
        vocab_size=30,
        hidden_size=48,
        coordinate_size=8,
        shape_size=8,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        visual_embed=image,
        num_labels=labels,
    )
    model = FastLayoutLM(LayoutLMv3ForTokenClassification(config).eval(), keep_padding=True)
    ids = torch.full((1, TOKENS), 5)
    pixels = torch.zeros(1, 3, 224, 224) if image else None
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
        model(ids, torch.ones_like(ids), torch.zeros(1, TOKENS, 4, dtype=torch.long), pixels)
    assert products(config, TOKENS) == counted.get_total_flops()


def test_all_of_it_runs_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    given = {"models": ["graft:minilm"], "dtypes": ["float32", "bfloat16"], "batches": [1], "repeats": 1}
    on_the_gpu(argparse.Namespace(**given, funsd=None, sroie=None, docbank=None), "cpu", 64)
    printed = capsys.readouterr().out
    assert "| ours, bfloat16 |" in printed
    assert "TFLOP/s without padding" in printed
    assert "the whole Tagger in bfloat16" in printed
