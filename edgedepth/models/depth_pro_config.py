"""Depth Pro's sizes, and the stages and tensors that follow from them. No torch in here.

Source: Depth Pro (arXiv 2410.02073), section 3.1 and figure 3; the published code at
github.com/apple/ml-depth-pro. Everything that code hard-codes (384, 24, 6, the paddings 3 and 6) is derived
here from the tile, the patch and the overlaps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgedepth.core.spec import PreprocessSpec, PyramidLevel, StageSpec, TensorSpec, TilingSpec

__all__ = [
    "DEPTH_PRO",
    "DEPTH_PRO_MINI",
    "DepthProConfig",
    "decoder_window_stages",
    "depth_pro_preprocess",
    "depth_pro_stages",
    "depth_pro_tiling",
    "whole_stage",
]


PATCH = 16
"""Side of a ViT patch in pixels that the topology is made for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthProConfig:
    """Sizes of a Depth Pro.

    Args:
        width: channels of each of the three vision transformers.
        depth: their blocks.
        heads: their attention heads.
        patch: side of a ViT patch in pixels.
        tile: side of a ViT's input in pixels; the model's input is four tiles wide.
        hooks: blocks of the patch encoder whose outputs become latent0 and latent1.
        overlaps: of neighbouring tiles, at full and at half scale (the quarter scale is one tile).
        feature_dims: channels of the upsampled features: latent1, level 0, level 1, level 2 and image.
        decoder_width: channels of latent0 and of the decoder.
        head_width: channels before the last 1x1 convolution of the depth head.
    """

    width: int
    depth: int
    heads: int
    patch: int
    tile: int
    hooks: tuple[int, int]
    overlaps: tuple[float, float] = (0.25, 0.5)
    feature_dims: tuple[int, int, int, int]
    decoder_width: int
    head_width: int = 32

    def __post_init__(self) -> None:
        """Refuse sizes that the published topology cannot have.

        Raises:
            ValueError: the decoder doubles its features until they are pixels, which takes a patch of 16; the
                paddings and the FOV head halve the grid three times, which takes a multiple of 8; heads share
                the width, and the FOV head divides the decoder's by 8.
        """
        allowed = (
            (self.patch == PATCH, f"patch is {self.patch}; the decoder's upsampling takes {PATCH}"),
            (self.tile % (8 * PATCH) == 0, f"tile is {self.tile}; a multiple of {8 * PATCH} is allowed"),
            (self.width % self.heads == 0, f"width {self.width} can't be shared by {self.heads} heads"),
            (self.decoder_width % 8 == 0, f"decoder_width is {self.decoder_width}; a multiple of 8 is allowed"),
            (0 <= self.hooks[0] < self.hooks[1] < self.depth, f"hooks {self.hooks} are not two of {self.depth} blocks"),
        )
        for right, problem in allowed:
            if not right:
                raise ValueError(f"not a Depth Pro: {problem}")

    @property
    def input_size(self) -> int:
        """Side of the square input in pixels."""
        return 4 * self.tile

    @property
    def grid(self) -> int:
        """Features along a tile's side."""
        return self.tile // self.patch

    @property
    def fused_sides(self) -> tuple[int, int, int]:
        """Features along the side of the fused maps of the three pyramid levels: 96, 48, 24."""
        return (4 * self.grid, 2 * self.grid, self.grid)


DEPTH_PRO = DepthProConfig(
    width=1024,
    depth=24,
    heads=16,
    patch=16,
    tile=384,
    hooks=(5, 11),
    feature_dims=(256, 512, 1024, 1024),
    decoder_width=256,
)

DEPTH_PRO_MINI = DepthProConfig(
    width=192,
    depth=6,
    heads=3,
    patch=16,
    tile=128,
    hooks=(1, 2),
    feature_dims=(32, 64, 128, 128),
    decoder_width=32,
)


def depth_pro_tiling(config: DepthProConfig) -> TilingSpec:
    """The pyramid's cut: 25 + 9 + 1 tiles for the published overlaps.

    A level's padding is half the overlap in features: each of two neighbours gives up its half.
    """
    levels = []
    for scale, overlap in zip((1, 2, 4), (*config.overlaps, 0.0), strict=True):
        side = config.input_size // scale
        stride = int(config.tile * (1 - overlap))
        steps = math.ceil((side - config.tile) / stride) + 1
        padding = (config.tile - stride) // (2 * config.patch) if steps > 1 else 0
        levels.append(PyramidLevel(scale=scale, steps=steps, stride=stride, padding=padding))
    return TilingSpec(tile=config.tile, grid=config.grid, levels=tuple(levels))


def depth_pro_preprocess(config: DepthProConfig) -> PreprocessSpec:
    """Depth Pro squashes the frame to a square and maps 0..1 to -1..1."""
    return PreprocessSpec(size=config.input_size)


def depth_pro_stages(config: DepthProConfig) -> tuple[StageSpec, ...]:
    """The four stages, in the order in which a frame meets them.

    Encoder features are channels-last, (N, rows, columns, channels), which is how a ViT makes them: tiles are
    fused by copying whole rows of channels. lowres_features stay channels-first, between two convolutions.
    """

    def tensor(name: str, *shape: int | str, unit: str = "1") -> TensorSpec:
        return TensorSpec(name=name, dtype="float32", shape=shape, unit=unit)

    tile, grid, width = config.tile, config.grid, config.width
    size, (high, mid, low) = config.input_size, config.fused_sides
    image = tensor("image", 1, 3, tile, tile)
    lowres_features = tensor("lowres_features", 1, config.decoder_width, mid, mid)
    return (
        StageSpec(
            name="patch_encoder",
            inputs=(tensor("tiles", "tiles", 3, tile, tile),),
            outputs=tuple(tensor(n, "tiles", grid, grid, width) for n in ("latent0", "latent1", "features")),
        ),
        StageSpec(
            name="image_encoder",
            inputs=(image,),
            outputs=(tensor("image_features", 1, low, low, width),),
        ),
        StageSpec(
            name="decoder",
            inputs=(
                tensor("latent0", 1, high, high, width),
                tensor("latent1", 1, high, high, width),
                tensor("level0", 1, high, high, width),
                tensor("level1", 1, mid, mid, width),
                tensor("level2", 1, low, low, width),
                tensor("image_features", 1, low, low, width),
            ),
            outputs=(tensor("canonical_inverse_depth", 1, 1, size, size, unit="1/m"), lowres_features),
        ),
        StageSpec(
            name="fov",
            inputs=(image, lowres_features),
            outputs=(tensor("fov_deg", 1, 1, unit="deg"),),
        ),
    )


_WINDOW_MARGIN = 4
"""Features of latent0 around a tile in its window: a change reaches two, and what is right ends two before the edge."""


def decoder_window_stages(config: DepthProConfig) -> tuple[StageSpec, StageSpec]:
    """The decoder once more, in two stages, for frames that barely change: the coarse levels, and a window of the fine.

    A window holds what a tile of the finest level leaves in the fused map, and a margin on each side.
    """
    whole = {tensor.name: tensor for stage in depth_pro_stages(config) for tensor in (*stage.inputs, *stage.outputs)}
    tiling = depth_pro_tiling(config)
    padding = tiling.levels[0].padding
    # A tile at the picture's edge needs a margin on one side alone.
    cells = max(config.grid - padding + _WINDOW_MARGIN, config.grid - 2 * padding + 2 * _WINDOW_MARGIN)
    side, width = 2 * config.fused_sides[0], config.decoder_width

    def tensor(name: str, *shape: int, unit: str = "1") -> TensorSpec:
        return TensorSpec(name=name, dtype="float32", shape=shape, unit=unit)

    return (
        StageSpec(
            name="decoder_coarse",
            inputs=tuple(whole[name] for name in ("level0", "level1", "level2", "image_features")),
            outputs=(tensor("coarse_features", 1, side, side, width), whole["lowres_features"]),
        ),
        StageSpec(
            name="decoder_window",
            inputs=(
                tensor("coarse_features", 1, 2 * cells, 2 * cells, width),
                tensor("latent0", 1, cells, cells, config.width),
                tensor("latent1", 1, cells, cells, config.width),
            ),
            outputs=(tensor("canonical_inverse_depth", 1, 1, PATCH * cells, PATCH * cells, unit="1/m"),),
        ),
    )


def whole_stage(config: DepthProConfig) -> StageSpec:
    """The model as one graph, for `--layout single`: image in, canonical inverse depth and field of view out."""
    size = config.input_size
    return StageSpec(
        name="whole",
        inputs=(TensorSpec(name="image", dtype="float32", shape=(1, 3, size, size)),),
        outputs=(
            TensorSpec(name="canonical_inverse_depth", dtype="float32", shape=(1, 1, size, size), unit="1/m"),
            TensorSpec(name="fov_deg", dtype="float32", shape=(1, 1), unit="deg"),
        ),
    )
