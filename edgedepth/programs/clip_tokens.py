"""CLIP's tokens: a caption as the 77 ids that its text encoder reads.

Source: CLIP (arXiv 2103.00020) and its published vocabulary, which lies in clip_vocabulary/ with its licence (MIT).
Ids are those of open_clip's tokenizer (tests/golden/clip_tokens.json), whose cleaning is followed step by step: ftfy,
HTML entities twice, white space, lower case.
"""

from __future__ import annotations

import functools
import gzip
import html
import itertools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import OptionError
from edgedepth.core.optional import require

__all__ = ["CONTEXT", "MAX_CAPTION_CHARACTERS", "VOCABULARY", "Tokens", "check_caption", "tokenize"]

CONTEXT = 77
"""Ids that the published text encoders read, start and end among them."""

VOCABULARY = 49_408
"""Ids that there are: 256 bytes, 256 bytes that end a word, 48,894 merges, start and end."""

MAX_CAPTION_CHARACTERS = 10_000
"""Some thirty times what fits into 77 ids; more is a file that was passed for a caption."""

_FILE = Path(__file__).parent / "clip_vocabulary" / "bpe_simple_vocab_16e6.txt.gz"
_MERGES = VOCABULARY - 2 * 256 - 2
_START, _END = "<start_of_text>", "<end_of_text>"
# Letters in one piece, digits one by one, the rest in one piece; English contractions apart.
_PIECE = rf"(?i:{_START}|{_END}|'s|'t|'re|'ve|'m|'ll|'d)|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+"

_log = logging.getLogger("edgedepth")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tokens:
    """A caption as a text encoder takes it.

    Args:
        ids: (1, context) int32: start, words, end, zeros.
        truncated: whether words had to be dropped.
    """

    ids: npt.NDArray[np.int32]
    truncated: bool


def tokenize(caption: object, context: int = CONTEXT) -> Tokens:
    """A caption's ids.

    Args:
        caption: text in any script; case and white space don't count.
        context: ids in all. What is more is dropped, as the published code's truncate=True does.

    Raises:
        OptionError: not a text, an empty one, or one that is too long to be a caption.
        MissingExtraError: tokenizers or ftfy is not installed.
    """
    ids = _codec().encode(check_caption(caption))
    kept = ids[: context - 2]
    row = np.zeros((1, context), np.int32)
    row[0, : len(kept) + 2] = (VOCABULARY - 2, *kept, VOCABULARY - 1)
    if len(kept) < len(ids):
        _log.warning("the caption has %d tokens; the text encoder reads its first %d", len(ids), len(kept))
    return Tokens(ids=row, truncated=len(kept) < len(ids))


def check_caption(caption: object) -> str:
    """The caption itself, if it can be one.

    Raises:
        OptionError: not a text, an empty one, or one that is too long to be a caption.
    """
    remedy = 'describe the picture in a sentence: caption="An office with two desks and a chair"'
    if not isinstance(caption, str):
        raise OptionError(f"the caption is a {type(caption).__name__}; a text is allowed", remedy=remedy)
    if len(caption) > MAX_CAPTION_CHARACTERS:
        raise OptionError(
            f"the caption has {len(caption):,} characters; {MAX_CAPTION_CHARACTERS:,} at most are allowed, and "
            f"the text encoder reads {CONTEXT} tokens of them",
            remedy=remedy,
        )
    if not caption.strip():
        raise OptionError("the caption is empty", remedy=remedy)
    return caption


class _Codec:
    """Cleaning, splitting and byte-pair merging."""

    def __init__(self) -> None:
        self._ftfy = require("ftfy", extra="captions", purpose="to read captions")
        library = require("tokenizers", extra="captions", purpose="to read captions")
        merges = _read_merges()
        symbols = _byte_symbols()
        ordered = sorted(symbols.values())  # the printable bytes first, then the others
        words = [*ordered, *(f"{symbol}</w>" for symbol in ordered), *map("".join, merges)]
        vocabulary = {word: number for number, word in enumerate(words)}
        self._special = {_START: VOCABULARY - 2, _END: VOCABULARY - 1}
        self._symbols = symbols
        self._split: Any = library.pre_tokenizers.Split(library.Regex(_PIECE), behavior="removed", invert=True)
        self._merge: Any = library.models.BPE(vocabulary, merges, end_of_word_suffix="</w>")

    def encode(self, caption: str) -> list[int]:
        """The ids of a caption's words, without start and end."""
        ids: list[int] = []
        for piece, _ in self._split.pre_tokenize_str(self._clean(caption)):
            if piece in self._special:  # as open_clip has it: its own marks are ids in a caption, too
                ids.append(self._special[piece])
            else:
                word = "".join(self._symbols[byte] for byte in piece.encode("utf-8"))
                ids += [token.id for token in self._merge.tokenize(word)]
        return ids

    def _clean(self, caption: str) -> str:
        text: str = self._ftfy.fix_text(caption)
        return " ".join(html.unescape(html.unescape(text)).split()).lower()


@functools.cache
def _codec() -> _Codec:
    """Made at the first caption: it takes a few tenths of a second."""
    return _Codec()


def _read_merges() -> list[tuple[str, str]]:
    """The pairs that are merged, the first first; line 0 of the file names its version."""
    lines = gzip.decompress(_FILE.read_bytes()).decode("utf-8").split("\n")
    pairs = [line.split() for line in lines[1 : _MERGES + 1]]
    return [(left, right) for left, right in pairs]


def _byte_symbols() -> dict[int, str]:
    """A printable character for each byte: itself, or one from 256 on where it would be a blank or a control."""
    stand_ins = map(chr, itertools.count(256))
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    return {byte: chr(byte) if byte in printable else next(stand_ins) for byte in range(256)}
