"""Data sets whose pictures have captions: rendered places, or text files beside the pictures.

Files, in the data set's folder or another, by a sample's name::

    NAME.txt          captions, one a line
    NAME.objects      instead, or besides: what a detector found, "chair=2,desk", one list a line

Lists of objects become captions by RSA's template, each in five orders, as its authors do.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedepth.core.errors import DataSetError, OptionError, SampleError
from edgedepth.datasets.base import DataSet
from edgedepth.datasets.files import read_text
from edgedepth.datasets.layouts import count_of, open_dataset
from edgedepth.datasets.places import PlacesSet
from edgedepth.programs.clip_tokens import check_caption
from edgedepth.programs.guidance import caption_of, parse_detections

__all__ = ["CaptionedSet", "open_captioned", "read_captions"]

_PLACES = "places:"
_SUFFIXES = (".txt", ".objects")
_ORDERS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionedSet:
    """A data set and what is said of its pictures.

    Args:
        samples: the pictures with their depth.
        captions_of: a sample's captions, one at least; raises SampleError.
        place: where it lies, or what it is called.
        folder: of the caption files; None: they are made from the seeds.
    """

    samples: DataSet
    captions_of: Callable[[str], Sequence[str]]
    place: str
    folder: Path | None = None

    def fingerprint(self, names: Sequence[str]) -> str:
        """Hex digest of these samples' names and caption files."""
        digest = hashlib.sha256()
        for name in names:
            digest.update(name.encode("utf-8", "surrogateescape") + b"\n")
            files = [] if self.folder is None else [self.folder / f"{name}{suffix}" for suffix in _SUFFIXES]
            for path in files:
                digest.update(path.read_bytes() if path.is_file() else b"")
        return digest.hexdigest()


def open_captioned(
    description: str | os.PathLike[str],
    *,
    first_seed: int,
    layout: str | None = None,
    captions: str | os.PathLike[str] | None = None,
) -> CaptionedSet:
    """Open a data set with captions by what a user calls it.

    Args:
        description: a folder of any layout, or "places:N" for N rendered scenes.
        first_seed: of rendered scenes.
        layout: of the folder; None: found by its files.
        captions: the folder of the caption files; None: the data set's own.

    Raises:
        DataSetError: no such folder, or a layout that can't be told.
        OptionError: a layout or captions for rendered scenes, or a set whose depth is not in metres.
    """
    text = os.fspath(description)
    if text.startswith(_PLACES):
        if layout is not None or captions is not None:
            raise OptionError(f"{text} is rendered, captions and all", remedy="leave --layout and --captions out")
        places = PlacesSet(count_of(text, _PLACES), first_seed)
        return CaptionedSet(samples=places, captions_of=places.captions, place=f"{text} from seed {first_seed}")
    if text.startswith("synthetic:") and captions is None:
        raise OptionError(f"{text} has no captions", remedy="use places:N, whose scenes have some")
    samples = open_dataset(text, layout=layout)
    if not samples.metric:
        raise OptionError(
            f"{samples.name} knows its depth up to a scale only; RSA is about metres", remedy="name another data set"
        )
    folder = Path(text if captions is None else captions)
    if not folder.is_dir():
        raise DataSetError(f"--captions {folder} is no folder", remedy="check the path")
    return CaptionedSet(
        samples=samples,
        captions_of=lambda name: read_captions(folder, name),
        place=str(Path(text).resolve()),
        folder=folder,
    )


def read_captions(folder: Path, name: str) -> tuple[str, ...]:
    """A sample's captions from its files.

    Raises:
        SampleError: there is no file, nothing in it, or a line that is no caption.
    """
    spoken, listed = (folder / f"{name}{suffix}" for suffix in _SUFFIXES)
    if not (spoken.exists() or listed.exists()):
        raise SampleError(
            f"{name} has no captions: looked for were {spoken} and {listed.name}",
            remedy="write one caption a line into the former, or 'chair=2,desk' into the latter",
        )
    found: list[str] = []
    try:
        found += [check_caption(line) for line in _lines(spoken)]
        for line in _lines(listed):
            pairs = parse_detections(line)
            found += dict.fromkeys(caption_of(pairs, seed=seed) for seed in range(_ORDERS))
    except OptionError as error:
        raise SampleError(f"a caption of {name} can't be one: {error.problem}", remedy=error.remedy) from error
    if not found:
        raise SampleError(f"{name} has caption files with nothing in them", remedy="write one caption a line")
    return tuple(found)


def _lines(path: Path) -> list[str]:
    return [line for line in read_text(path).splitlines() if line.strip()] if path.exists() else []
