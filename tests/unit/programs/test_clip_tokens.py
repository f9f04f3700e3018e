"""The tokenizer against ids that open_clip's own gave (tests/golden/clip_tokens.json says how)."""

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedepth.core.errors import OptionError
from edgedepth.programs import clip_tokens
from edgedepth.programs.clip_tokens import CONTEXT, VOCABULARY, tokenize

pytest.importorskip("tokenizers", reason="captions need the captions extra: tokenizers")
pytest.importorskip("ftfy", reason="captions need the captions extra: ftfy")

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "clip_tokens.json").read_text())["captions"]
FOLDER = Path(clip_tokens.__file__).parent / "clip_vocabulary"


@pytest.mark.parametrize("entry", GOLDEN, ids=lambda entry: ascii(entry["caption"])[:40])
def test_ids_are_open_clips(entry: dict[str, object]) -> None:
    ids = entry["ids"]
    assert isinstance(ids, list)
    tokens = tokenize(entry["caption"])
    assert tokens.ids.shape == (1, CONTEXT)
    assert tokens.ids.dtype == np.int32
    assert tokens.ids[0].tolist() == ids + [0] * (CONTEXT - len(ids))


def test_the_corpus_is_odd_enough() -> None:
    captions = [entry["caption"] for entry in GOLDEN]
    assert len(captions) >= 60
    assert any(len(caption.split()) == 300 for caption in captions)
    assert any("&amp;lt;" in caption for caption in captions)
    assert any("\u200d" in caption for caption in captions)  # joined emoji


def test_truncation_keeps_start_and_end_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    fits, over = tokenize("chair " * 75), tokenize("chair " * 76)
    assert (fits.truncated, over.truncated) == (False, True)
    assert np.array_equal(fits.ids, over.ids)  # the last kept place is the end mark
    assert over.ids[0, -1] == VOCABULARY - 1
    assert "76 tokens" in caplog.text


@given(st.text(min_size=1, max_size=200))
@settings(max_examples=200, deadline=None)  # the first example reads the vocabulary
def test_any_text_gives_a_row_that_a_text_encoder_can_read(text: str) -> None:
    if not text.strip():
        with pytest.raises(OptionError):
            tokenize(text)
        return
    row = tokenize(text).ids[0]
    assert row[0] == VOCABULARY - 2
    assert (row >= 0).all()
    assert (row < VOCABULARY).all()
    end = int(np.argmax(row))  # where the encoder takes its features from
    assert row[end] == VOCABULARY - 1


@given(st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=60))
def test_case_and_white_space_do_not_count(text: str) -> None:
    text = text.replace("&", "+")  # entities are case-sensitive
    if text.strip():
        assert np.array_equal(tokenize(text).ids, tokenize(f"  {text.upper()}\n").ids)


@pytest.mark.parametrize(
    ("caption", "told"),
    [
        (None, "a NoneType"),
        (3, "an? int"),
        (["a"], "a list"),
        (b"room", "a bytes"),
        ("", "empty"),
        (" \t\n", "empty"),
        ("word " * 10_000, "50,000 characters"),
    ],
)
def test_what_is_no_caption_is_refused(caption: object, told: str) -> None:
    with pytest.raises(OptionError, match=told) as caught:
        tokenize(caption)
    assert "caption=" in caught.value.remedy


def test_the_vocabulary_is_the_published_file_and_its_licence_lies_beside_it() -> None:
    file = FOLDER / "bpe_simple_vocab_16e6.txt.gz"
    # the sha256 that open_clip_torch 3.3.0, openai-clip 1.0.1 and clip-anytorch 2.6.0 all carry
    assert hashlib.sha256(file.read_bytes()).hexdigest().startswith("924691ac288e54409236115652ad4aa2")
    assert len(gzip.decompress(file.read_bytes()).splitlines()) > VOCABULARY
    licence = (FOLDER / "LICENSE").read_text()
    assert licence.startswith("MIT License")
    assert "Copyright (c) 2021 OpenAI" in licence
