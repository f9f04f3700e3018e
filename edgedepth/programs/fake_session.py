"""A session without a network: a numpy function behind the whole contract of core/session.py.

Programs are tested with it where no framework is installed, and faults are planted by giving it another function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.feeds import check_feeds, closed_stage, output_buffers
from edgedepth.core.session import Array
from edgedepth.core.spec import ModelSpec, StageSpec, TensorSpec

__all__ = ["Compute", "FakeSession", "fake_compute", "open_fake_stages", "with_tile_batch"]

Compute = Callable[[StageSpec, Mapping[str, Array]], Mapping[str, Array]]
"""A stage's outputs by name from its declaration and its inputs. A pure function."""


class FakeSession:
    """A Session that checks its feeds as strictly as a real one, and gives whatever `compute` gives.

    Args:
        stage: what it declares; sizes that are integers are demanded, names in a shape stand for any size.
        compute: its arithmetic; by default fake_compute.

    `runs` counts how often it ran; `batches` holds the first size of its first input, run by run.
    """

    device = "fake"

    def __init__(self, stage: StageSpec, compute: Compute | None = None) -> None:
        self.stage = stage
        self.closed = False
        self.batches: list[int] = []
        self._compute = compute or fake_compute

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What run() takes."""
        return self.stage.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What run() gives."""
        return self.stage.outputs

    @property
    def runs(self) -> int:
        """How often it ran."""
        return len(self.batches)

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """See core/session.py: Session.run."""
        if self.closed:
            raise closed_stage(self.stage)
        buffers = output_buffers(self.stage, out, check_feeds(self.stage, feeds))
        self.batches.append(len(feeds[self.inputs[0].name]))
        results: dict[str, Array] = {}
        for name, result in self._compute(self.stage, feeds).items():
            buffer = buffers.get(name)
            if buffer is not None and buffer.shape == result.shape and buffer.dtype == result.dtype:
                np.copyto(buffer, result)
                results[name] = buffer
            else:
                results[name] = np.array(result)  # a planted fault: for the caller to notice
        return results

    def close(self) -> None:
        """Closing twice is fine."""
        self.closed = True


def open_fake_stages(model: ModelSpec, faults: Mapping[str, Compute] | None = None) -> Callable[[str], FakeSession]:
    """An OpenStage of fake sessions for a model; `faults` replaces the arithmetic of stages by name."""
    return lambda stage: FakeSession(model.stage(stage), (faults or {}).get(stage))


def with_tile_batch(stage: StageSpec, tile_batch: int) -> StageSpec:
    """The patch encoder as an artefact of a fixed batch declares it."""

    def fix(tensor: TensorSpec) -> TensorSpec:
        return replace(tensor, shape=(tile_batch, *tensor.shape[1:]))

    return replace(stage, inputs=tuple(map(fix, stage.inputs)), outputs=tuple(map(fix, stage.outputs)))


def fake_compute(stage: StageSpec, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Arithmetic in which every input of every Depth Pro stage counts, and each place only for itself.

    A feature is the mean of its own patch, so fused features equal those of the uncut image, and the same model
    as one stage ("whole") gives what the stages give.
    """
    return {
        "patch_encoder": _patch_encoder,
        "image_encoder": _image_encoder,
        "decoder": _decoder,
        "decoder_coarse": _decoder_coarse,
        "decoder_window": _decoder_window,
        "fov": _fov,
        "whole": _whole,
    }[stage.name](stage, feeds)


# How much each of the decoder's inputs counts: all different, so that two that are swapped show.
_WEIGHTS = {
    "latent0": 0.05,
    "latent1": 0.07,
    "level0": 0.11,
    "level1": 0.13,
    "level2": 0.17,
    "image_features": 0.19,
}
_LATENTS = {"latent0": 0.5, "latent1": -0.25, "features": 1.0}


def _pool(images: Array, side: int) -> Array:
    """Block means over the channels too: (N, C, S, S) to (N, side, side)."""
    count, channels, size, _ = images.shape
    block = size // side
    pooled: Array = images.reshape(count, channels, side, block, side, block).mean(axis=(1, 3, 5))
    return pooled


def _with_channels(maps: Array, width: int) -> Array:
    """(N, side, side) to (N, side, side, width); no two channels are alike, and their mean is the map."""
    ramp = np.linspace(0.5, 1.5, width, dtype=np.float32)
    return maps[..., None] * ramp


def _patch_encoder(stage: StageSpec, feeds: Mapping[str, Array]) -> dict[str, Array]:
    _, grid, _, width = _sizes(stage.outputs[0])
    maps = _with_channels(_pool(feeds["tiles"], grid), width)
    return {name: maps * np.float32(factor) for name, factor in _LATENTS.items()}


def _image_encoder(stage: StageSpec, feeds: Mapping[str, Array]) -> dict[str, Array]:
    _, grid, _, width = _sizes(stage.outputs[0])
    return {"image_features": _with_channels(_pool(feeds["image"], grid), width)}


def _decoder(stage: StageSpec, feeds: Mapping[str, Array]) -> dict[str, Array]:
    size = _sizes(stage.outputs[0])[-1]
    channels = _sizes(stage.outputs[1])[1]
    canonical = _blend({name: array.mean(axis=-1)[0] for name, array in feeds.items()}, size)
    lowres = np.repeat(feeds["level1"].mean(axis=-1)[:, None], channels, axis=1)
    return {"canonical_inverse_depth": canonical, "lowres_features": lowres}


def _decoder_coarse(stage: StageSpec, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Each channel holds the coarse maps' part in the depth."""
    _, side, _, channels = _sizes(stage.outputs[0])
    part = _weighted({name: array.mean(axis=-1)[0] for name, array in feeds.items()}, side)
    lowres = np.repeat(feeds["level1"].mean(axis=-1)[:, None], _sizes(stage.outputs[1])[1], axis=1)
    return {"coarse_features": np.repeat(part[None, ..., None], channels, axis=-1), "lowres_features": lowres}


def _decoder_window(stage: StageSpec, feeds: Mapping[str, Array]) -> dict[str, Array]:
    size = _sizes(stage.outputs[0])[-1]
    coarse = feeds["coarse_features"][0, ..., 0]
    canonical = _upsampled(coarse, size)
    canonical += _weighted({name: feeds[name].mean(axis=-1)[0] for name in ("latent0", "latent1")}, size)
    return {"canonical_inverse_depth": canonical[None, None] + np.float32(1)}


def _blend(maps: Mapping[str, Array], size: int) -> Array:
    """A positive (1, 1, size, size) from square maps that lie in -1..1."""
    return (_weighted(maps, size) + np.float32(1))[None, None]


def _weighted(maps: Mapping[str, Array], size: int) -> Array:
    """The weighted sum of those maps, (size, size)."""
    weighted = np.zeros((size, size), np.float32)
    for name, weight in _WEIGHTS.items():
        if name in maps:
            weighted += np.float32(weight) * _upsampled(maps[name], size)
    return weighted


def _upsampled(square: Array, size: int) -> Array:
    factor = size // len(square)
    enlarged: Array = square.repeat(factor, axis=0).repeat(factor, axis=1)
    return enlarged


def _fov(_: StageSpec, feeds: Mapping[str, Array]) -> dict[str, Array]:
    fov_deg = 60 + 10 * feeds["image"].mean() + 5 * feeds["lowres_features"].mean()
    return {"fov_deg": np.full((1, 1), fov_deg, np.float32)}


def _whole(_: StageSpec, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The uncut model, with the published sizes: levels at 1, 1/2 and 1/4, 24 features to a quarter of the side."""
    image = feeds["image"]
    size = image.shape[-1]
    grid = size // 4 // 16
    levels = [image, _middle_means(image, 2), _middle_means(image, 4)]
    level0, level1, level2 = (_pool(level, 4 * grid // 2**i)[0] for i, level in enumerate(levels))
    maps = {"level0": level0, "level1": level1, "level2": level2, "image_features": level2}
    maps |= {name: level0 * np.float32(_LATENTS[name]) for name in ("latent0", "latent1")}
    fov = _fov(_, {"image": levels[2], "lowres_features": level1})
    return {"canonical_inverse_depth": _blend(maps, size), **fov}


def _middle_means(image: Array, scale: int) -> Array:
    """The mean of the two by two pixels in the middle of each block of scale by scale."""
    first, second = scale // 2 - 1, scale // 2
    rows = image[..., first::scale, :] + image[..., second::scale, :]
    return (rows[..., first::scale] + rows[..., second::scale]) * np.float32(0.25)


def _sizes(tensor: TensorSpec) -> tuple[int, ...]:
    """A tensor's sizes, -1 for those that may vary."""
    return tuple(size if isinstance(size, int) else -1 for size in tensor.shape)
