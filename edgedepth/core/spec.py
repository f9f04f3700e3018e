"""What a model is, as plain data: its stages, its tensors, how a frame is prepared and tiled.

Nothing here imports a framework. A spec is written into every bundle, so a robot that opens one needs
neither the model's code nor its config.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "DEFAULT_TILE_BATCH",
    "Layout",
    "ModelSpec",
    "Precision",
    "PreprocessSpec",
    "PyramidLevel",
    "RelativeSpec",
    "StageSpec",
    "TensorSpec",
    "TilingSpec",
]

Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8"]
Layout = Literal["staged", "single"]

_MOST_REFLECTED = 16.0

DEFAULT_TILE_BATCH = 5
"""Tiles in a micro-batch: divides Depth Pro's 25 + 9 + 1 = 35, so that no call is padded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One named tensor at a stage's border.

    Args:
        name: exact name in every artefact.
        dtype: numpy's name of the dtype: "float32" at every border, "int32" for the ids of a caption.
        shape: sizes; a string names a dimension that may vary ("tiles").
        unit: "m", "1/m", "deg", or "1" for what has none.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    unit: str = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpec:
    """One pure tensor function that is exported as one graph."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessSpec:
    """How a frame becomes the model's input: RGB in 0..1, resized, then (x - mean) / std.

    Args:
        size: height of the input in pixels.
        width: of the input in pixels; None: it is square.
        resize: "bilinear" or "bicubic": half-pixel centres, edges clamped, no antialiasing; "bilinear_corners": corner
            pixels stay corner pixels. The frame is squashed.
        mean: per channel, RGB.
        std: per channel, RGB.
        reflect: of ZoeDepth: before it is resized the frame is mirrored at its edges, by int(reflect * sqrt(side / 2))
            pixels at both ends of a side; what the network says of them is cut off again.
    """

    size: int
    width: int | None = None
    resize: Literal["bilinear", "bicubic", "bilinear_corners"] = "bilinear"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    reflect: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a border that no memory holds.

        Raises:
            ValueError: reflect is out of range.
        """
        if not 0 <= self.reflect <= _MOST_REFLECTED:
            raise ValueError(f"reflect is {self.reflect}; 0 to {_MOST_REFLECTED:g} are allowed")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self.size, self.size if self.width is None else self.width

    def border(self, height: int, width: int) -> tuple[int, int]:
        """By how many pixels a frame is mirrored: at the top and at the bottom, at the left and at the right."""
        rows, columns = (int(self.reflect * math.sqrt(side / 2)) for side in (height, width))
        return rows, columns


@dataclass(frozen=True, slots=True, kw_only=True)
class PyramidLevel:
    """One level of the image pyramid and how it is cut.

    Args:
        scale: 1, 2 or 4: the input's side is divided by it.
        steps: tiles along a side.
        stride: pixels between the corners of two neighbours, at this level's scale.
        padding: features dropped at each inner border when tiles are fused.
    """

    scale: int
    steps: int
    stride: int
    padding: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TilingSpec:
    """How the pyramid is cut into equal tiles and fused again (Depth Pro, section 3.1)."""

    tile: int
    grid: int
    levels: tuple[PyramidLevel, ...]

    @property
    def count(self) -> int:
        """Tiles in all: 35 for Depth Pro."""
        return sum(level.steps**2 for level in self.levels)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeSpec:
    """How relative inverse depth becomes metres: 1 / (scale * relative + shift), clamped.

    Args:
        typical: mean of the network's raw output on a drawn picture, in its own numbers: what proofs divide by.
        min_depth_m: depths are clamped to, below.
        max_depth_m: and above.
        unfused_on: targets whose runtime computes this network wrongly unless it is kept from fusing attention.
    """

    typical: float
    min_depth_m: float
    max_depth_m: float
    unfused_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model as its users and its runtimes see it.

    Args:
        name: "depth-pro", "depth-pro-mini", ...
        family: which program runs it: "depth-pro", "relative", "rsa", "zoedepth".
        kind: "metric" or "relative_inverse".
        stages: in the order in which a frame meets them.
        preprocess: how a frame becomes the input.
        tiling: None for models that see the picture whole.
        parameters: how many weights there are in all.
        licence: SPDX identifier or name of the licence that the weights carry.
        source: where the weights came from, for people.
        weights_sha256: of the checkpoint file; of the tensors' bytes where there is no file.
        trained: False for random weights: the depth means nothing, and every result says so.
        relative: for models whose network gives relative depth.
    """

    name: str
    family: str
    kind: Literal["metric", "relative_inverse"]
    stages: tuple[StageSpec, ...]
    preprocess: PreprocessSpec
    tiling: TilingSpec | None
    parameters: int
    licence: str
    source: str
    weights_sha256: str
    trained: bool
    relative: RelativeSpec | None = None

    def stage(self, name: str) -> StageSpec:
        """The stage of that name; KeyError tells the ones there are."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(f"no stage {name!r}; there are {[stage.name for stage in self.stages]}")
