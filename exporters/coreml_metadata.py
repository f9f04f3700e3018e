"""What a Core ML package says of itself: the fields that Xcode shows, and the constants that an app needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from edgedepth.core.plain import to_plain
from edgedepth.core.spec import ModelSpec, StageSpec, TensorSpec
from edgedepth.exporters.base import ExportOptions
from edgedepth.exporters.coreml_options import deployment_target_named

__all__ = ["PackageMetadata", "describe_stage", "describe_tensor", "package_metadata"]

_STAGES = {
    "patch_encoder": "encodes tiles of the image pyramid",
    "image_encoder": "encodes the whole image at a quarter of its scale",
    "decoder": "decodes the fused features to canonical inverse depth",
    "fov": "estimates the horizontal field of view",
    "relative_depth": "estimates relative inverse depth; 1 / (scale * it + shift) is metres",
    "text_encoder": "encodes a caption's ids",
    "scale_shift": "reads scale and shift off a caption's features",
}
_TENSORS = {
    "tiles": "RGB tiles in -1..1",
    "image": "RGB at a quarter of the input's scale, in -1..1",
    "latent0": "features of an early block, channels last",
    "latent1": "features of a middle block, channels last",
    "features": "features of the last block, channels last",
    "level0": "fused features of the full-scale tiles, channels last",
    "level1": "fused features of the half-scale tiles, channels last",
    "level2": "features of the quarter-scale tile, channels last",
    "image_features": "features of the whole image, channels last",
    "canonical_inverse_depth": "inverse depth for a camera whose focal length is its image's width",
    "lowres_features": "the decoder's coarsest features, for the field of view",
    "fov_deg": "horizontal field of view",
    "relative_depth.image": "RGB, normalised as edgedepth.preprocess says",
    "relative_inverse_depth": "inverse depth up to scale and shift, raw",
    "tokens": "ids of CLIP's tokenizer, filled up with 0",
    "text_features": "the caption's features, not normalised",
    "scale": "scale of relative inverse depth",
    "shift": "shift of relative inverse depth",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageMetadata:
    """The same for every package of a bundle.

    Args:
        author: who made the weights, as far as is known: where they came from.
        licence: of the weights.
        version: of the weights: the start of their SHA-256.
        model: the model's name, and whether it is trained.
        user_defined: more, by names that start with "edgedepth."; lists and structures as JSON.
    """

    author: str
    licence: str
    version: str
    model: str
    user_defined: Mapping[str, str]


def package_metadata(model: ModelSpec, options: ExportOptions) -> PackageMetadata:
    """The metadata of a model's packages."""
    facts = {
        "model": model.name,
        "precision": options.precision,
        "deployment_target": deployment_target_named(options.coreml.deployment_target),
        "compute_layout": options.coreml.compute_layout,
        "tile_batch": options.tile_batch,
        "tiling": to_plain(model.tiling),
        "preprocess": to_plain(model.preprocess),
        "source": model.source,
        "weights_sha256": model.weights_sha256,
        "trained": model.trained,
        "licence": model.licence,
    }
    return PackageMetadata(
        author=f"weights: {model.source}; converted by edgedepth",
        licence=model.licence,
        version=model.weights_sha256[:12],
        model=model.name if model.trained else f"{model.name} (UNTRAINED weights)",
        user_defined={
            f"edgedepth.{name}": value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()
        },
    )


def describe_stage(stage: StageSpec, metadata: PackageMetadata) -> str:
    """One line: what the package does."""
    return f"{metadata.model}, stage {stage.name}: {_STAGES.get(stage.name, 'a stage of the model')}"


def describe_tensor(tensor: TensorSpec, stage: str) -> str:
    """One line: what the tensor is, its shape and its unit."""
    unit = "" if tensor.unit == "1" else f", in {tensor.unit}"
    text = _TENSORS.get(f"{stage}.{tensor.name}", _TENSORS.get(tensor.name, tensor.name))
    return f"{text}{unit}; {' x '.join(map(str, tensor.shape))} {tensor.dtype}"
