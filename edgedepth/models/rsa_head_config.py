"""Widths of RSA's heads, and the stage that they make. No torch in here."""

from __future__ import annotations

from dataclasses import dataclass

from edgedepth.core.spec import StageSpec, TensorSpec

__all__ = ["FIVE_LAYERS", "THREE_LAYERS", "HeadConfig", "scale_shift_stage", "scaled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig:
    """Widths of a head's layers.

    Args:
        text: of the caption's features.
        scene: of the layers that both have in common.
        own: of the layers that scale and shift have each.
    """

    text: int
    scene: tuple[int, ...]
    own: tuple[int, ...]


THREE_LAYERS = HeadConfig(text=1024, scene=(512, 256, 256), own=(128, 64, 1))
FIVE_LAYERS = HeadConfig(text=1024, scene=(512, 512, 512, 256, 256), own=(256, 128, 128, 64, 1))


def scaled(config: HeadConfig, text: int) -> HeadConfig:
    """The layout for features of another width: below 1024, its layers are narrower in the same measure."""
    share = min(1.0, text / config.text)

    def narrowed(widths: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(max(16, round(width * share)) for width in widths)

    return HeadConfig(text=text, scene=narrowed(config.scene), own=(*narrowed(config.own[:-1]), 1))


def scale_shift_stage(config: HeadConfig) -> StageSpec:
    """A caption's features in, scale and shift out."""
    return StageSpec(
        name="scale_shift",
        inputs=(TensorSpec(name="text_features", dtype="float32", shape=(1, config.text)),),
        outputs=(
            TensorSpec(name="scale", dtype="float32", shape=(1, 1), unit="1/m"),
            TensorSpec(name="shift", dtype="float32", shape=(1, 1), unit="1/m"),
        ),
    )
