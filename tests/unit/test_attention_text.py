"""A head's attention as a row of tokens."""

import json

import numpy as np
import pytest
from bs4 import BeautifulSoup

from lib.report import attention_text

PATTERN = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.1, 0.9, 0, 0], [0.997, 0.003, 0, 0]])
WORDS = ["<bos>", "a", "b", "<a>"]


def test_a_token_shows_where_the_head_looks_from_it():
    row = BeautifulSoup(attention_text.row(PATTERN, WORDS, "one", "1.1"), "html.parser")
    tokens = row.select("button.bk-token")
    assert [token.text for token in tokens] == WORDS
    looks = [json.loads(token["data-looks"]) for token in tokens]
    assert looks[2] == {"0": 0.1, "1": 0.9} and looks[3] == {"0": 0.997}
    chosen = [token.text for token in tokens if token["aria-pressed"] == "true"]
    assert chosen == ["b"]
    assert [token["style"] for token in tokens[:2]] == ["--look:0.100", "--look:0.900"]
    assert "From b at position 2 the head looks at a at 1 (90%)" in row.text


def test_tokens_and_pattern_must_fit():
    with pytest.raises(ValueError, match="4 tokens|3 tokens"):
        attention_text.row(PATTERN, WORDS[:3], "one", "1.1")
