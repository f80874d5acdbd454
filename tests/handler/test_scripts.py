"""Where words begin without a space."""

from __future__ import annotations

from itertools import pairwise

import pytest

from handler.scripts import begins_word


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["Total:12.50"], id="Latin"),
        pytest.param(["发", "票", "号", "码", "：", "12345678"], id="Han"),
        pytest.param(["ご", "請", "求", "1,250", "円"], id="kana"),
        pytest.param(["송장번호"], id="Hangul"),
        pytest.param(["ยอดรวม", "1,250.00", "บาท"], id="Thai"),
        pytest.param(["รวม", "VAT"], id="Thai and Latin"),
        pytest.param(["ที่", "๑๒"], id="Thai digits"),
        pytest.param(["พ.ศ."], id="dots between Thai letters"),
        pytest.param(["(เงิน)"], id="brackets around Thai letters"),
    ],
)
def test_words_begin_where_their_script_says(words: list[str]) -> None:
    text = "".join(words)
    starts = [0, *(place for place, two in enumerate(pairwise(text), start=1) if begins_word(*two)), len(text)]
    assert [text[first:last] for first, last in pairwise(starts)] == words
