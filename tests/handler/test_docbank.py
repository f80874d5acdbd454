"""One real page of a paper, from the DocBank sample: 1057 words, 704 of them without area (figure marks)."""

from __future__ import annotations

import numpy as np
import pytest

from handler.page import Page, Size, TaggedPage
from handler.tagging.decoding import label_words
from handler.tagging.tagger import Tagger, TaggerSettings
from tests.checkpoints import byte_level_bpe, make_checkpoint, word_piece
from tests.handler.samples import LONG_PAGE, SHORT_PAGE, docbank_page


@pytest.fixture(scope="module", params=["BPE", "WordPiece"])
def tagger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tagger:
    """A vocabulary learnt from the short page, so that tokens are about as long as in a published one."""
    corpus = [word.text for word in docbank_page(SHORT_PAGE, Size(1, 1)).words]
    tokenizer = byte_level_bpe(corpus) if request.param == "BPE" else word_piece(corpus)
    folder = make_checkpoint(tmp_path_factory.mktemp("docbank"), tokenizer=tokenizer)
    return Tagger.load(folder, TaggerSettings(device="cpu", dtype="float32", threads=1))


def long_page() -> Page:
    return docbank_page(LONG_PAGE, Size(1700, 2200))


def test_a_long_page_takes_several_windows_and_every_word_has_one_label(tagger: Tagger) -> None:
    """P12, P13, P14, P15: nothing is cut off, nothing is answered twice."""
    page = long_page()
    windows = tagger.encoder.encode(page).windows
    assert len(windows) > 3
    assert sorted(index for window in windows for index in window.words.tolist()) == list(range(len(page.words)))
    (logits,) = tagger.word_logits([page])
    assert logits.shape == (1057, 7)
    labelled = label_words(logits, tagger.labels)
    assert labelled.tags.min() >= 0
    assert np.all((labelled.scores > 0) & (labelled.scores <= 1))


def test_words_without_area_are_kept(tagger: Tagger) -> None:
    """P3."""
    page = long_page()
    assert sum(word.box.left == word.box.right or word.box.top == word.box.bottom for word in page.words) == 704
    (tagged,) = tagger.tag([page])
    assert isinstance(tagged, TaggedPage)
    words = [index for region in tagged.regions for index in region.words]
    assert len(words) == len(set(words))
    assert all(region.box.left <= region.box.right for region in tagged.regions)


def test_a_long_and_a_short_page_together(tagger: Tagger) -> None:
    """P14: overflow of one page changes nothing about the other."""
    pages = [long_page(), docbank_page(SHORT_PAGE, Size(1700, 2200)), long_page()]
    together = tagger.word_logits(pages)
    assert [len(logits) for logits in together] == [1057, 234, 1057]
    np.testing.assert_allclose(together[0], together[2], atol=1e-4, rtol=0)
    np.testing.assert_allclose(together[1], tagger.word_logits(pages[1:2])[0], atol=1e-4, rtol=0)
