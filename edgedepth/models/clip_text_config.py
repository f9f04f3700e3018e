"""Sizes of CLIP's text encoders, and what checkpoints call their tensors. No torch in here.

Source: CLIP (arXiv 2103.00020), table 19 and 20, and its published code. Ours are the names of OpenAI's checkpoints;
Hugging Face's are those of transformers' CLIPTextModelWithProjection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgedepth.core.spec import StageSpec, TensorSpec
from edgedepth.models.checkpoint_names import NameLayout

__all__ = [
    "CLIP_MINI_TEXT",
    "CLIP_RN50_TEXT",
    "CLIP_TEXT_LAYOUTS",
    "CLIP_VIT_B_TEXT",
    "CLIP_VIT_L_TEXT",
    "ClipTextConfig",
    "hugging_face_text_names",
    "text_encoder_stage",
]

VOCABULARY = 49_408
CONTEXT = 77


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipTextConfig:
    """Sizes of a CLIP text encoder.

    Args:
        width: channels of the transformer.
        heads: its attention heads.
        layers: its blocks.
        projection: channels of the features, shared with the picture's.
        context: ids of a caption, start and end among them.
        vocabulary: ids that there are; the last one ends a caption.
    """

    width: int
    heads: int
    layers: int
    projection: int
    context: int = CONTEXT
    vocabulary: int = VOCABULARY

    def __post_init__(self) -> None:
        """Refuse heads that can't share the width.

        Raises:
            ValueError: they can't.
        """
        if self.width % self.heads:
            raise ValueError(f"width {self.width} can't be shared by {self.heads} heads")


CLIP_RN50_TEXT = ClipTextConfig(width=512, heads=8, layers=12, projection=1024)
CLIP_VIT_B_TEXT = ClipTextConfig(width=512, heads=8, layers=12, projection=512)
CLIP_MINI_TEXT = ClipTextConfig(width=64, heads=2, layers=2, projection=64)
CLIP_VIT_L_TEXT = ClipTextConfig(width=768, heads=12, layers=12, projection=768)


def text_encoder_stage(config: ClipTextConfig) -> StageSpec:
    """A caption's ids in, its features out: raw, not of length one."""
    return StageSpec(
        name="text_encoder",
        inputs=(TensorSpec(name="tokens", dtype="int32", shape=(1, config.context)),),
        outputs=(TensorSpec(name="text_features", dtype="float32", shape=(1, config.projection)),),
    )


_NAMES = (
    (r"token_embedding\.weight", "text_model.embeddings.token_embedding.weight"),
    (r"positional_embedding", "text_model.embeddings.position_embedding.weight"),
    (r"ln_final\.", "text_model.final_layer_norm."),
    (r"text_projection", "text_projection.weight"),
    (r"transformer\.resblocks\.(\d+)\.attn\.in_proj_", r"text_model.encoder.layers.\1.self_attn.QKV_proj."),
    (r"transformer\.resblocks\.(\d+)\.attn\.out_proj\.", r"text_model.encoder.layers.\1.self_attn.out_proj."),
    (r"transformer\.resblocks\.(\d+)\.ln_(\d)\.", r"text_model.encoder.layers.\1.layer_norm\2."),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.", r"text_model.encoder.layers.\1.mlp.fc1."),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.", r"text_model.encoder.layers.\1.mlp.fc2."),
)


def hugging_face_text_names(name: str) -> tuple[str, ...]:
    """Hugging Face's name of one of our tensors; three of them, to be stacked along axis 0, for q, k and v.

    Raises:
        KeyError: not a tensor of a CLIP text encoder.
    """
    for pattern, replacement in _NAMES:
        if re.match(pattern, name):
            renamed = re.sub(pattern, replacement, name, count=1)
            return tuple(renamed.replace("QKV", part) for part in "qkv") if "QKV" in renamed else (renamed,)
    raise KeyError(name)


# What belongs to the picture's half of CLIP, or to neither, may be in the file.
CLIP_TEXT_LAYOUTS = (
    NameLayout(
        "OpenAI's", lambda name: (name,), ignored=r"visual\..*|logit_scale|input_resolution|context_length|vocab_size"
    ),
    NameLayout(
        "Hugging Face's",
        hugging_face_text_names,
        ignored=r"vision_model\..*|visual_projection\..*|logit_scale|text_model\.embeddings\.position_ids",
        transposed=frozenset({"text_projection"}),
    ),
)
