"""What checkpoints call Depth Pro's tensors. No torch in here.

Ours are the names of the published depth_pro.pt. Hugging Face's are those of the tensors in apple/DepthPro-hf,
which are the names of transformers' DepthProForDepthEstimation; it keeps the projections of q, k and v apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ["LAYOUTS", "NameLayout", "best_layout", "hugging_face_names"]

_VIT_PREFIXES = (
    ("encoder.patch_encoder.", "depth_pro.encoder.patch_encoder.model."),
    ("encoder.image_encoder.", "depth_pro.encoder.image_encoder.model."),
    ("fov.encoder.0.", "fov_model.fov_encoder.model."),
)

_IN_VIT = (
    (r"cls_token", "embeddings.cls_token"),
    (r"pos_embed", "embeddings.position_embeddings"),
    (r"patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"blocks\.(\d+)\.attn\.proj\.", r"encoder.layer.\1.attention.output.dense."),
    (r"blocks\.(\d+)\.attn\.qkv\.", r"encoder.layer.\1.attention.attention.QKV."),
    (r"blocks\.(\d+)\.ls(\d)\.gamma", r"encoder.layer.\1.layer_scale\2.lambda1"),
    (r"blocks\.(\d+)\.", r"encoder.layer.\1."),
    (r"norm\.", "layernorm."),
)

# Where ours count the five decoder levels from the finest, theirs count from the coarsest.
_OUTSIDE = (
    ("encoder.upsample_latent0.", "depth_pro.neck.feature_upsample.intermediate.1.layers."),
    ("encoder.upsample_latent1.", "depth_pro.neck.feature_upsample.intermediate.0.layers."),
    ("encoder.upsample0.", "depth_pro.neck.feature_upsample.scaled_images.2.layers."),
    ("encoder.upsample1.", "depth_pro.neck.feature_upsample.scaled_images.1.layers."),
    ("encoder.upsample2.", "depth_pro.neck.feature_upsample.scaled_images.0.layers."),
    ("encoder.upsample_lowres.", "depth_pro.neck.feature_upsample.image_block.layers.0."),
    ("encoder.fuse_lowres.", "depth_pro.neck.fuse_image_with_low_res."),
    *((f"decoder.convs.{k}.", f"depth_pro.neck.feature_projection.projections.{4 - k}.") for k in range(1, 5)),
    ("decoder.fusions.0.", "fusion_stage.final."),
    *((f"decoder.fusions.{k}.", f"fusion_stage.intermediate.{4 - k}.") for k in range(1, 5)),
    ("head.", "head.layers."),
    ("fov.encoder.1.", "fov_model.fov_encoder.neck."),
    ("fov.downsample.0.", "fov_model.conv."),
    ("fov.head.", "fov_model.head.layers."),
)

_IN_FUSION = (
    (r"^resnet(\d)\.residual\.1\.", r"residual_layer\1.convolution1."),
    (r"^resnet(\d)\.residual\.3\.", r"residual_layer\1.convolution2."),
    (r"^out_conv\.", "projection."),
)


def hugging_face_names(name: str) -> tuple[str, ...]:
    """Hugging Face's name of one of our tensors; three of them, to be stacked along axis 0, for q, k and v.

    Raises:
        KeyError: not a tensor of Depth Pro.
    """
    for ours, theirs in _VIT_PREFIXES:
        if name.startswith(ours):
            renamed = theirs + _replaced(name.removeprefix(ours), _IN_VIT)
            if "QKV" in renamed:
                return tuple(renamed.replace("QKV", part) for part in ("query", "key", "value"))
            return (renamed,)
    for ours, theirs in _OUTSIDE:
        if name.startswith(ours):
            return (theirs + _replaced(name.removeprefix(ours), _IN_FUSION),)
    raise KeyError(name)


def _replaced(name: str, rules: Iterable[tuple[str, str]]) -> str:
    """The name after the first rule that matches its beginning."""
    for pattern, replacement in rules:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name, count=1)
    return name


@dataclass(frozen=True, slots=True)
class NameLayout:
    """A way to name the tensors.

    Args:
        title: for messages.
        sources: our name to the names in the file that make it up, stacked along axis 0.
        ignored: pattern of names that may be in the file and belong to nothing here.
        transposed: our names of the matrices that the file holds the other way round.
    """

    title: str
    sources: Callable[[str], tuple[str, ...]]
    ignored: str
    transposed: frozenset[str] = frozenset()


LAYOUTS = (
    NameLayout("depth_pro.pt", lambda name: (name,), ignored=r"(?!)"),
    # mask tokens serve DINOv2's pre-training; nothing reads them here
    NameLayout("DepthPro-hf", hugging_face_names, ignored=r".*\.embeddings\.mask_token"),
)


def best_layout(
    expected: Iterable[str], found: Iterable[str], layouts: tuple[NameLayout, ...] = LAYOUTS
) -> tuple[NameLayout, int]:
    """The layout that explains most of the file's names, and how many of our tensors it finds."""
    ours, theirs = list(expected), set(found)

    def hits(layout: NameLayout) -> int:
        return sum(theirs.issuperset(layout.sources(name)) for name in ours)

    best = max(layouts, key=hits)
    return best, hits(best)
