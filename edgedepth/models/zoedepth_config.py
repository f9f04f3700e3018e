"""ZoeDepth as data: sizes, pre-processing, its stage. No torch in here.

Source: ZoeDepth (arXiv 2302.12288), its classes and its image processor in transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from edgedepth.core.spec import PreprocessSpec, StageSpec, TensorSpec
from edgedepth.models.relative_config import RelativeConfig

__all__ = [
    "DEFAULT_FRAME",
    "ZOEDEPTH_KITTI",
    "ZOEDEPTH_NYU",
    "ZOEDEPTH_NYU_KITTI",
    "InputRule",
    "ZoeDepthConfig",
    "metric_depth_stage",
]

DEFAULT_FRAME = (480, 640)
"""Height and width of the frames that artefacts are made for where nothing else is asked for: 4:3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRule:
    """How a frame's size decides that of the input.

    Args:
        height: in pixels; of one of the two sides the input comes nearest to what it is here.
        width: in pixels.
        multiple: both sides become multiples of it.
        keep_aspect: the other side follows the frame's aspect; else the input is height x width for every frame.
        reflect: how much frames are mirrored at their edges first: see PreprocessSpec.
        resize: see PreprocessSpec.
        mean: per channel, RGB.
        std: per channel, RGB.
    """

    height: int = 384
    width: int = 512
    multiple: int = 32
    keep_aspect: bool = True
    reflect: float = 3.0
    resize: Literal["bilinear_corners"] = "bilinear_corners"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def preprocess(self, frame: tuple[int, int] = DEFAULT_FRAME) -> PreprocessSpec:
        """The pre-processing of frames of a height and width: the mirrored frame is scaled as little as possible."""
        free = PreprocessSpec(size=self.height, resize=self.resize, mean=self.mean, std=self.std, reflect=self.reflect)
        rows, columns = (side + 2 * border for side, border in zip(frame, free.border(*frame), strict=True))
        across, down = self.width / columns, self.height / rows
        if self.keep_aspect:
            across = down = across if abs(1 - across) < abs(1 - down) else down
        height, width = (
            max(self.multiple, round(size / self.multiple) * self.multiple) for size in (down * rows, across * columns)
        )
        return PreprocessSpec(
            size=height, width=width, resize=self.resize, mean=self.mean, std=self.std, reflect=self.reflect
        )


_REFUSED_BY = MappingProxyType({"coreai": "its attention and its bins were never tried there"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoeDepthConfig:
    """A ZoeDepth network.

    Args:
        options: of transformers' configuration class, as far as they differ from its defaults.
        rule: how a frame becomes the input, where the checkpoint doesn't say.
        refused_by: targets that it can't be exported to, each with the reason.
    """

    options: MappingProxyType[str, Any]
    rule: InputRule = InputRule()
    refused_by: Mapping[str, str] = field(default_factory=lambda: _REFUSED_BY)

    @property
    def network(self) -> RelativeConfig:
        """As transformers' other networks are described."""
        return RelativeConfig(
            model_type="zoedepth",
            options=self.options,
            preprocess=self.rule.preprocess(),
            multiple=self.rule.multiple,
        )


def metric_depth_stage(preprocess: PreprocessSpec) -> StageSpec:
    """A picture in, depth in metres out, of the mirrored picture."""
    height, width = preprocess.shape
    return StageSpec(
        name="metric_depth",
        inputs=(TensorSpec(name="image", dtype="float32", shape=(1, 3, height, width)),),
        outputs=(TensorSpec(name="depth_m", dtype="float32", shape=(1, 1, height, width), unit="m"),),
    )


def _zoedepth(bins: str, *heads: tuple[str, float], **options: Any) -> ZoeDepthConfig:
    return ZoeDepthConfig(
        options=MappingProxyType(
            {
                "neck_hidden_sizes": [256, 512, 1024, 1024],
                "bin_centers_type": bins,
                "bin_configurations": [
                    {"name": name, "n_bins": 64, "min_depth": 1e-3, "max_depth": farthest} for name, farthest in heads
                ],
                **options,
            }
        )
    )


ZOEDEPTH_NYU = _zoedepth("softplus", ("nyu", 10.0))
ZOEDEPTH_KITTI = _zoedepth("normed", ("kitti", 80.0))
ZOEDEPTH_NYU_KITTI = _zoedepth(
    "softplus",
    ("nyu", 10.0),
    ("kitti", 80.0),
    num_patch_transformer_layers=4,
    patch_transformer_hidden_size=128,
    patch_transformer_intermediate_size=1024,
    patch_transformer_num_attention_heads=4,
)
