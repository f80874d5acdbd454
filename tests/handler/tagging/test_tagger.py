from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from handler.errors import AnswerInvalid, CheckpointInvalid, OutOfMemory, PageInvalid
from handler.page import Page, TaggedPage
from handler.tagging.layoutlm import load
from handler.tagging.tagger import Tagger, TaggerSettings
from tests.checkpoints import LABELS, make_checkpoint, make_lilt_checkpoint, word_piece
from tests.handler.samples import noisy_thumbnail, page_of

ON_CPU = TaggerSettings(device="cpu", dtype="float32", batch_windows=4, max_tokens=64, stride=16, threads=1)
KINDS = ("text", "image", "WordPiece", "LiLT")


@pytest.fixture(scope="module")
def checkpoints(
    text_checkpoint: Path, image_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    word_pieces = make_checkpoint(tmp_path_factory.mktemp("word-piece"), tokenizer=word_piece())
    lilt = make_lilt_checkpoint(tmp_path_factory.mktemp("lilt"))
    return dict(zip(KINDS, (text_checkpoint, image_checkpoint, word_pieces, lilt), strict=True))


@pytest.fixture(scope="module", params=KINDS)
def tagger(request: pytest.FixtureRequest, checkpoints: dict[str, Path]) -> Tagger:
    return Tagger.load(checkpoints[request.param], ON_CPU)


def mixed_pages() -> list[Page]:
    """Short, long, empty and odd pages, each with its own thumbnail."""
    texts = [
        ["Invoice", "Total", "12.50"],
        [["page", "Total", "12.50", "EUR", "Date"][index % 5] for index in range(70)],
        [],
        ["Total"],
        ["", " "],
        ["ACME", "", "Ltd,", "5 High Street", "漢字"] * 5,
        [f"{index:x}" for index in range(40)],
    ]
    return [page_of(*words, thumbnail=noisy_thumbnail(seed)) for seed, words in enumerate(texts)]


def test_a_batch_gives_what_its_pages_give_alone(tagger: Tagger) -> None:
    """P10, P12, P13, P14: short, long and empty pages mixed; the list is never shortened and keeps its order."""
    pages = mixed_pages()
    together = tagger.word_logits(pages)
    assert [len(logits) for logits in together] == [len(page.words) for page in pages]
    for page, logits in zip(pages, together, strict=True):
        (alone,) = tagger.word_logits([page])
        np.testing.assert_allclose(logits, alone, atol=1e-4, rtol=0)
    assert [tagged.windows for tagged in tagger.tag(pages)][2:5] == [0, 1, 0]
    assert tagger.tag(pages)[1].windows > 1


@pytest.mark.parametrize("order", [[6, 5, 4, 3, 2, 1, 0], [1, 1, 0, 1]], ids=["reversed", "repeated"])
def test_order_is_kept(tagger: Tagger, order: list[int]) -> None:
    pages = mixed_pages()
    alone = [tagger.word_logits([page])[0] for page in pages]
    for index, logits in zip(order, tagger.word_logits([pages[index] for index in order]), strict=True):
        np.testing.assert_allclose(logits, alone[index], atol=1e-4, rtol=0)


@pytest.mark.parametrize("batch_windows", [0, 1, 3, 100])
def test_the_batch_size_changes_nothing(checkpoints: dict[str, Path], batch_windows: int) -> None:
    pages = mixed_pages()
    expected = Tagger.load(checkpoints["text"], ON_CPU).word_logits(pages)
    tagger = Tagger.load(checkpoints["text"], replace(ON_CPU, batch_windows=batch_windows))
    for logits, known in zip(tagger.word_logits(pages), expected, strict=True):
        np.testing.assert_allclose(logits, known, atol=1e-4, rtol=0)


def test_every_word_with_a_token_has_an_answer_and_no_other(tagger: Tagger) -> None:
    """P9."""
    for page, logits in zip(mixed_pages(), tagger.word_logits(mixed_pages()), strict=True):
        blank = [not word.text.strip() for word in page.words]
        assert np.isnan(logits).all(axis=1).tolist() == blank
        assert np.isnan(logits).any(axis=1).tolist() == blank


def test_regions_are_of_their_page(tagger: Tagger) -> None:
    found = 0
    for page, tagged in zip(mixed_pages(), tagger.tag(mixed_pages()), strict=True):
        assert isinstance(tagged, TaggedPage)
        words = [index for region in tagged.regions for index in region.words]
        assert words == sorted(set(words)), "no word is in two regions"
        assert all(page.words[index].text.strip() for index in words)
        for region in tagged.regions:
            assert region.label in LABELS
            assert 0 <= region.score <= 1
            assert region.text == " ".join(page.words[index].text for index in region.words)
        found += len(words)
    assert found > 50, "this checkpoint labels words"


def test_no_pages(tagger: Tagger) -> None:
    assert tagger.tag([]) == []


def test_the_image_is_looked_at(checkpoints: dict[str, Path]) -> None:
    page = page_of("Invoice", "Total", thumbnail=noisy_thumbnail(0))
    other = replace(page, thumbnail=noisy_thumbnail(5))
    tagger = Tagger.load(checkpoints["image"], ON_CPU)
    first, second = tagger.word_logits([page, other])
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(*Tagger.load(checkpoints["text"], ON_CPU).word_logits([page, other]))


def test_a_page_without_the_thumbnail_that_the_model_needs(checkpoints: dict[str, Path]) -> None:
    tagger = Tagger.load(checkpoints["image"], ON_CPU)
    with pytest.raises(PageInvalid, match="X-LayoutLoop-Thumbnail: 1"):
        tagger.tag([page_of("Total")])
    assert tagger.tag([page_of()]) == [TaggedPage((), 0)], "a page without words needs none"


def test_pages_are_made_ready_a_few_at_a_time(checkpoints: dict[str, Path]) -> None:
    tagger = Tagger.load(checkpoints["image"], replace(ON_CPU, batch_windows=1))
    pages = [page_of("Total", thumbnail=noisy_thumbnail(seed)) for seed in range(5)]
    ready = tagger.prepare([*pages, page_of("Total")])
    assert [next(ready).pages for _ in range(3)] == [pages[:1], pages[1:3], pages[3:5]]
    with pytest.raises(PageInvalid):
        next(ready)


def test_a_request_of_torchserves_on_a_gpu_is_made_ready_in_parts(checkpoints: dict[str, Path]) -> None:
    """So that the GPU labels the first pages while the others are tokenised."""
    config = yaml.safe_load((Path(__file__).parents[3] / "handler" / "config" / "gpu.yaml").read_text())
    settings = replace(ON_CPU, batch_windows=config["handler"]["tagger"]["batch_windows"])
    parts = list(Tagger.load(checkpoints["text"], settings).prepare([page_of("Total")] * config["batchSize"]))
    assert len(parts) > 1


def test_boxes_of_lines_and_of_words_differ(checkpoints: dict[str, Path]) -> None:
    """P7."""
    page = page_of(*["Total"] * 6, lines=[0, 0, 0, 1, 1, 1])
    of_words = Tagger.load(checkpoints["text"], ON_CPU).word_logits([page])[0]
    of_lines = Tagger.load(checkpoints["text"], replace(ON_CPU, box_level="lines")).word_logits([page])[0]
    assert np.abs(of_words - of_lines).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_runs(checkpoints: dict[str, Path], kind: str) -> None:
    tagger = Tagger.load(checkpoints[kind], replace(ON_CPU, dtype="bfloat16"))
    exact = Tagger.load(checkpoints[kind], ON_CPU)
    assert tagger.model.dtype == torch.bfloat16
    for logits, known in zip(tagger.word_logits(mixed_pages()), exact.word_logits(mixed_pages()), strict=True):
        assert logits.dtype == np.float32
        np.testing.assert_array_equal(np.isnan(logits), np.isnan(known))
        if len(known) > 2:
            assert np.nanmean(np.abs(logits - known)) < 0.3 * np.nanstd(known)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"stride": 62}, "less than the 62 tokens of a window", id="P13 stride"),
        pytest.param({"box_level": "pages"}, "box_level is one of", id="P7 box_level"),
        pytest.param({"dtype": "float16"}, "dtype is auto, float32 or bfloat16, got 'float16'", id="dtype"),
        pytest.param({"max_tokens": 513}, "has positions for 512 tokens, max_tokens is 513", id="max_tokens"),
    ],
)
def test_settings_that_cannot_work(text_checkpoint: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointInvalid, match=message):
        Tagger.load(text_checkpoint, replace(ON_CPU, **settings))


def allocate_too_much() -> None:
    torch.empty(2**50)


def run_out_like_cuda() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def run_out_like_python() -> None:
    raise MemoryError


class SmallDevice(torch.nn.Module):
    """A model on a device with room for only so many tokens, padding included."""

    def __init__(self, model: Callable[..., Any], run_out: Callable[[], None]) -> None:
        super().__init__()
        self.model, self.run_out = model, run_out
        self.room, self.windows, self.tokens = 10**9, [], []

    def forward(self, input_ids: torch.Tensor, **inputs: torch.Tensor) -> Any:
        self.windows.append(input_ids.shape[0])
        self.tokens.append(input_ids.shape[1])
        if input_ids.numel() > self.room:
            self.run_out()
        return self.model(input_ids=input_ids, **inputs)


def on_a_small_device(checkpoint: Path, run_out: Callable[[], None]) -> tuple[Tagger, SmallDevice]:
    model = load(checkpoint, "cpu", "float32").accelerated()
    device = SmallDevice(model.model, run_out)
    tagger = Tagger(replace(model, model=device), replace(ON_CPU, batch_windows=8))
    device.windows.clear()
    device.tokens.clear()
    return tagger, device


@pytest.mark.parametrize(
    "run_out",
    [
        pytest.param(allocate_too_much, id="P30 the CPU's allocator"),
        pytest.param(run_out_like_cuda, id="P30 CUDA"),
        pytest.param(run_out_like_python, id="P30 Python"),
    ],
)
@pytest.mark.parametrize("kind", ["text", "image"])
def test_a_batch_that_does_not_fit_is_halved(
    checkpoints: dict[str, Path], kind: str, run_out: Callable[[], None]
) -> None:
    tagger, device = on_a_small_device(checkpoints[kind], run_out)
    expected = tagger.word_logits(mixed_pages())
    whole = list(device.windows)
    device.windows.clear()
    device.room = 2 * ON_CPU.max_tokens
    for logits, known in zip(tagger.word_logits(mixed_pages()), expected, strict=True):
        np.testing.assert_allclose(logits, known, atol=1e-4, rtol=0)
    assert max(whole) == 8
    assert {8, 4, 2} <= set(device.windows)


def test_only_the_page_that_does_not_fit_even_alone_suffers(checkpoints: dict[str, Path]) -> None:
    """P30: the three pages with a full window have none; the small ones of the same batch are answered."""
    tagger, device = on_a_small_device(checkpoints["text"], allocate_too_much)
    expected = tagger.tag(mixed_pages())
    device.room = ON_CPU.max_tokens - 1
    answers = tagger.tag(mixed_pages())
    for index, (answer, known) in enumerate(zip(answers, expected, strict=True)):
        if index in (1, 5, 6):
            assert isinstance(answer, OutOfMemory)
            assert str(answer).startswith("one window of 64 tokens does not fit cpu: ")
            assert answer.status == 507
        else:
            assert isinstance(answer, TaggedPage)
            assert [region.words for region in answer.regions] == [region.words for region in known.regions]
    device.room = 10**9
    assert not any(isinstance(answer, OutOfMemory) for answer in tagger.tag(mixed_pages())), "the next batch is well"


@pytest.mark.parametrize("error", [RuntimeError("index out of range"), ValueError("no")], ids=["runtime", "value"])
def test_any_other_fault_is_not_taken_for_lack_of_memory(text_checkpoint: Path, error: Exception) -> None:
    def fail() -> None:
        raise error

    tagger, device = on_a_small_device(text_checkpoint, fail)
    device.room = 0
    with pytest.raises(type(error), match=str(error)):
        tagger.tag(mixed_pages())
    assert device.windows == [8], "and is not tried again"


def test_windows_of_like_length_share_a_batch(text_checkpoint: Path) -> None:
    """Short pages among long ones are not padded to their length."""
    tagger, device = on_a_small_device(text_checkpoint, allocate_too_much)
    tagger.tag([page_of("Total"), page_of(*["Total"] * 40)] * 12)
    assert device.windows == [8, 8, 8]
    assert device.tokens[1] < device.tokens[2]


def test_it_is_warm_before_the_first_page(text_checkpoint: Path) -> None:
    """P30: the model ran once while the tagger was made."""
    model = load(text_checkpoint, "cpu", "float32")
    device = SmallDevice(model.model, allocate_too_much)
    Tagger(replace(model, model=device), ON_CPU)
    assert device.windows == [1]


def test_logits_that_are_no_numbers_are_an_error_and_no_empty_page(text_checkpoint: Path) -> None:
    model = load(text_checkpoint, "cpu", "float32")
    with torch.no_grad():
        next(model.model.classifier.parameters()).fill_(float("nan"))
    tagger = Tagger(model.accelerated(), ON_CPU)
    short, _, empty, *_ = tagger.tag(mixed_pages())
    assert isinstance(short, AnswerInvalid)
    assert empty == TaggedPage((), 0)


@pytest.mark.parametrize("device", ["cuda:99", "graphics"])
def test_a_device_that_is_not_here_is_named(text_checkpoint: Path, device: str) -> None:
    with pytest.raises(CheckpointInvalid, match=f"device '{device}' is not here"):
        load(text_checkpoint, device)
