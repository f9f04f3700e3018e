"""What an RSA model sees and reads of a data set: once, for all epochs of a fit."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import CheckFailedError, FrameError, OptionError, SampleError
from edgedepth.core.files import write_file
from edgedepth.core.progress import Progress, silent
from edgedepth.core.session import Array
from edgedepth.datasets.base import Sample
from edgedepth.datasets.captions import CaptionedSet
from edgedepth.facade import EdgeDepth
from edgedepth.programs.picture_descriptor import picture_descriptor
from edgedepth.rsa.protocols import as_rsa_sees

__all__ = ["Seen", "SeenSample", "check_model", "evenly", "look", "see"]

log = logging.getLogger("edgedepth")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeenSample:
    """A sample, its raw relative depth at the sample's size, and its captions."""

    sample: Sample
    relative: Array
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """N samples with M captions, as a head is fitted to them.

    Args:
        text: (M, F) float32 features of the captions.
        owners: (M,) int64, the sample that each belongs to, ascending.
        relative: (N, K) float32, raw, at K valid pixels.
        depth_m: (N, K) float32.
        descriptors: (N, 256) float32 as picture_descriptor gives them.
    """

    text: Array
    owners: npt.NDArray[np.int64]
    relative: Array
    depth_m: Array
    descriptors: Array


def check_model(model: EdgeDepth) -> None:
    """Refuse what reads no captions.

    Raises:
        OptionError: the model is no RSA model.
    """
    if model.spec.family != "rsa":
        raise OptionError(
            f"{model.spec.name} reads no captions; a model with a text encoder is needed",
            remedy="name an RSA model, such as rsa-mini, or rsa-depth-anything with --weights relative=…,text=…",
        )


def see(
    model: EdgeDepth,
    data_set: CaptionedSet,
    *,
    limit: int | None = None,
    pixels: int = 2048,
    cache: Path | None = None,
    progress: Progress = silent,
) -> Seen:
    """Run the frozen parts over a data set, or take what an earlier call kept.

    Args:
        model: an RSA model; its head isn't looked at.
        data_set: with captions.
        limit: so many samples, spread evenly; None: all.
        pixels: K, drawn from the valid ones of each sample.
        cache: a file; taken if it was made of the same model, samples and pixels, else written.
        progress: is told each sample.

    Raises:
        OptionError: the model reads no captions.
        CheckFailedError: not one sample could be used.
        OutputError: the cache can't be written.
    """
    check_model(model)
    names = evenly(data_set.samples.sample_names, limit)
    key = _key(model, data_set, names, pixels)
    if cache is not None and (kept := _kept(cache, key)) is not None:
        log.info("%s: what was computed before is taken", cache)
        return kept
    texts, owners, pairs, descriptors = [], [], [], []
    for index, seen in enumerate(look(model, data_set, names, progress=progress)):
        random = np.random.default_rng((0, index))
        texts += [model.caption_features(caption) for caption in seen.captions]
        owners += [index] * len(seen.captions)
        drawn = random.choice(np.flatnonzero(seen.sample.valid), pixels)
        pairs.append((seen.relative.ravel()[drawn], seen.sample.depth_m.ravel()[drawn]))
        descriptors.append(picture_descriptor(seen.sample.image, seen.relative))
    found = Seen(
        text=np.stack(texts),
        owners=np.array(owners, np.int64),
        relative=np.stack([relative for relative, _ in pairs]),
        depth_m=np.stack([depth for _, depth in pairs]),
        descriptors=np.stack(descriptors),
    )
    if cache is not None:
        _keep(found, cache, key)
    return found


def look(
    model: EdgeDepth, data_set: CaptionedSet, names: Sequence[str], *, progress: Progress = silent
) -> Iterator[SeenSample]:
    """Each sample that can be used, with its relative depth; the others are told.

    Raises:
        CheckFailedError: not one could be used.
        StageError, UnusableOutputError: the model gave something unusable.
    """
    used = 0
    first = ""
    for done, name in enumerate(names):
        progress(name, done, len(names))
        try:
            captions = tuple(data_set.captions_of(name))
            sample = as_rsa_sees(data_set.samples, data_set.samples.load(name))
            frame = sample.image if model.color == "rgb" else sample.image[..., ::-1]
            relative = model.infer(frame, kind="relative_inverse").inverse_depth
        except (SampleError, FrameError) as error:
            log.warning("%s is skipped: %s", name, error.problem)
            first = first or f"; the first, {name}: {error.problem}"
            continue
        used += 1
        yield SeenSample(sample=sample, relative=relative, captions=captions)
    progress("done", len(names), len(names))
    if not used:
        raise CheckFailedError(
            f"none of the {len(names)} samples of {data_set.samples.name} could be used{first}",
            remedy="look at the data set's folder and its captions: docs/how-to/rsa.md shows the files",
        )


def evenly(names: Sequence[str], limit: int | None) -> tuple[str, ...]:
    """So many names, spread evenly.

    Raises:
        OptionError: a limit below 1.
    """
    if limit is not None and limit < 1:
        raise OptionError(f"the limit is {limit} samples; allowed are 1 and more", remedy="or leave --limit out")
    count = len(names) if limit is None else min(limit, len(names))
    return tuple(names[index * len(names) // count] for index in range(count))


def _key(model: EdgeDepth, data_set: CaptionedSet, names: Sequence[str], pixels: int) -> str:
    facts = {
        "place": data_set.place,
        "captions": data_set.fingerprint(names),
        "weights": model.spec.weights_sha256,
        "input": model.spec.preprocess.shape,
        "backend": model.backend,
        "pixels": pixels,
    }
    return json.dumps(facts, sort_keys=True)


def _kept(cache: Path, key: str) -> Seen | None:
    """What the file holds, if it is of that key; a damaged file is made anew."""
    if not cache.exists():
        return None
    try:
        with np.load(cache, allow_pickle=False) as held:
            if str(held["key"]) != key:
                return None
            return Seen(**{field.name: held[field.name] for field in fields(Seen)})
    except (OSError, ValueError, KeyError, EOFError):
        log.warning("%s is damaged and is made anew", cache)
        return None


def _keep(found: Seen, cache: Path, key: str) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, key=np.array(key), **{field.name: getattr(found, field.name) for field in fields(Seen)})
    write_file(cache, buffer.getbuffer())
