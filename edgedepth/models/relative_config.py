"""Networks of relative depth and RSA models, as data: sizes, pre-processing, stages. No torch in here.

Networks are transformers' classes; `options` are what differs from the defaults of their configuration class.
Sources: DPT (arXiv 2103.13413), MiDaS 3.1 (arXiv 2307.14460), Depth Anything (arXiv 2401.10891) and its version 2
(arXiv 2406.09414), RSA (arXiv 2410.02924) and its published code for the presets that its heads were fitted with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from edgedepth.core.spec import PreprocessSpec, StageSpec, TensorSpec
from edgedepth.models.clip_text_config import CLIP_MINI_TEXT, CLIP_RN50_TEXT, ClipTextConfig
from edgedepth.models.rsa_head_config import THREE_LAYERS, HeadConfig

__all__ = [
    "DEPTH_ANYTHING_BASE",
    "DEPTH_ANYTHING_LARGE",
    "DEPTH_ANYTHING_MINI",
    "DEPTH_ANYTHING_SMALL",
    "DEPTH_ANYTHING_V2_BASE",
    "DEPTH_ANYTHING_V2_LARGE",
    "DEPTH_ANYTHING_V2_SMALL",
    "DPT_HYBRID",
    "DPT_LARGE",
    "MIDAS_SWIN2_LARGE",
    "RSA_DEPTH_ANYTHING",
    "RSA_DEPTH_ANYTHING_KITTI",
    "RSA_DPT",
    "RSA_DPT_KITTI",
    "RSA_MIDAS",
    "RSA_MINI",
    "RelativeConfig",
    "RsaConfig",
    "relative_stage",
]

_IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


_NO_COREAI: Mapping[str, str] = MappingProxyType({"coreai": "it was never tried"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeConfig:
    """A network of relative depth.

    Args:
        model_type: transformers' name of the architecture.
        options: of its configuration class.
        preprocess: how a frame becomes the input.
        multiple: what both sides of the input have to be multiples of.
        refused_by: targets that this architecture can't be exported to, each with the reason.
        unfused_on: targets whose runtime was found to fuse this architecture's attention wrongly: it is kept from it.
    """

    model_type: str
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    preprocess: PreprocessSpec
    multiple: int
    refused_by: Mapping[str, str] = field(default_factory=lambda: _NO_COREAI)
    unfused_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an input that the network can't see.

        Raises:
            ValueError: a side that isn't a multiple.
        """
        if any(side % self.multiple for side in self.preprocess.shape):
            raise ValueError(f"input {self.preprocess.shape}: multiples of {self.multiple} are allowed")


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaConfig:
    """A network of relative depth, a text encoder, and the head that makes metres of both.

    Args:
        relative: the network; the pre-processing is the head's: it was fitted with it.
        text: sizes of the text encoder.
        head: widths of the head.
        min_depth_m: depths are clamped to, below.
        max_depth_m: and above.
    """

    relative: RelativeConfig
    text: ClipTextConfig = CLIP_RN50_TEXT
    head: HeadConfig = THREE_LAYERS
    min_depth_m: float = 1e-3
    max_depth_m: float = 80.0


def relative_stage(preprocess: PreprocessSpec) -> StageSpec:
    """A picture in, inverse depth up to scale and shift out: raw, in the network's own numbers."""
    height, width = preprocess.shape
    return StageSpec(
        name="relative_depth",
        inputs=(TensorSpec(name="image", dtype="float32", shape=(1, 3, height, width)),),
        outputs=(TensorSpec(name="relative_inverse_depth", dtype="float32", shape=(1, 1, height, width)),),
    )


def _depth_anything(width: int, heads: int, layers: int, blocks: tuple[int, ...]) -> RelativeConfig:
    """Depth Anything; `blocks` are those of DINOv2 that its decoder reads, the first being 1."""
    backbone = {
        "model_type": "dinov2",
        "image_size": 518,
        "patch_size": 14,
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "out_indices": list(blocks),
        "apply_layernorm": True,
        "reshape_hidden_states": False,
    }
    necks = {384: (48, 96, 192, 384), 768: (96, 192, 384, 768), 1024: (256, 512, 1024, 1024)}
    options = {
        "backbone_config": backbone,
        "reassemble_hidden_size": width,
        "neck_hidden_sizes": list(necks[width]),
        "fusion_hidden_size": {384: 64, 768: 128, 1024: 256}[width],
    }
    return RelativeConfig(
        model_type="depth_anything", options=MappingProxyType(options), preprocess=_DEPTH_ANYTHING_INPUT, multiple=14
    )


# The published rule: shorter side 518, aspect kept, multiples of 14; here for a 4:3 frame: artefacts are of one size.
_DEPTH_ANYTHING_INPUT = PreprocessSpec(size=518, width=686, resize="bicubic", **_IMAGENET)

DEPTH_ANYTHING_SMALL = _depth_anything(384, 6, 12, (9, 10, 11, 12))
DEPTH_ANYTHING_BASE = _depth_anything(768, 12, 12, (9, 10, 11, 12))
DEPTH_ANYTHING_LARGE = _depth_anything(1024, 16, 24, (21, 22, 23, 24))
DEPTH_ANYTHING_V2_SMALL = _depth_anything(384, 6, 12, (3, 6, 9, 12))
DEPTH_ANYTHING_V2_BASE = _depth_anything(768, 12, 12, (3, 6, 9, 12))
DEPTH_ANYTHING_V2_LARGE = _depth_anything(1024, 16, 24, (5, 12, 18, 24))

# Ours: Depth Anything's topology, as wide and deep as depth-pro-mini's tile encoder, whose weights it starts from.
DEPTH_ANYTHING_MINI = RelativeConfig(
    model_type="depth_anything",
    options=MappingProxyType(
        {
            "backbone_config": {
                "model_type": "dinov2",
                "image_size": 160,
                "patch_size": 16,
                "hidden_size": 192,
                "num_attention_heads": 3,
                "num_hidden_layers": 6,
                "out_indices": [3, 4, 5, 6],
                "apply_layernorm": True,
                "reshape_hidden_states": False,
            },
            "patch_size": 16,
            "reassemble_hidden_size": 192,
            "neck_hidden_sizes": [32, 64, 96, 128],
            "fusion_hidden_size": 48,
        }
    ),
    preprocess=PreprocessSpec(size=160, resize="bicubic"),
    multiple=16,
)

# MiDaS and DPT as published: squashed to a square, mean and deviation of 0.5.
_MIDAS_INPUT = PreprocessSpec(size=384, resize="bicubic")

DPT_LARGE = RelativeConfig(
    model_type="dpt",
    options=MappingProxyType(
        {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "backbone_out_indices": [5, 11, 17, 23],
            "neck_hidden_sizes": [256, 512, 1024, 1024],
        }
    ),
    preprocess=_MIDAS_INPUT,
    multiple=16,
)
DPT_HYBRID = RelativeConfig(
    model_type="dpt",
    options=MappingProxyType(
        {
            "is_hybrid": True,
            "hidden_size": 768,
            "backbone_out_indices": [2, 5, 8, 11],
            "neck_hidden_sizes": [256, 512, 768, 768],
            "readout_type": "project",
        }
    ),
    preprocess=_MIDAS_INPUT,
    multiple=32,
)
MIDAS_SWIN2_LARGE = RelativeConfig(
    model_type="dpt",
    options=MappingProxyType(
        {
            "backbone_config": {
                "model_type": "swinv2",
                "image_size": 384,
                "embed_dim": 192,
                "depths": [2, 2, 18, 2],
                "num_heads": [6, 12, 24, 48],
                "window_size": 24,
                "pretrained_window_sizes": [12, 12, 12, 6],
                "out_features": ["stage1", "stage2", "stage3", "stage4"],
            },
            "neck_hidden_sizes": [192, 384, 768, 1536],
        }
    ),
    preprocess=_MIDAS_INPUT,
    multiple=32,
    refused_by=MappingProxyType(
        {
            **_NO_COREAI,
            "tensorrt": "Swin's windows take a mask on the attention's scores, which TensorRT is known to fuse wrongly",
        }
    ),
    # OpenVINO 2026.4's CPU plugin fuses Swin v2's attention wrongly: a tiny one is 20 % off, and 1e-6 without the
    # fusion (SNIPPETS_MODE=DISABLE).
    unfused_on=("openvino",),
)


def _seen_by_rsa(network: RelativeConfig, size: int, width: int | None = None) -> RelativeConfig:
    """A network with the pre-processing of RSA's code, which normalises all pictures by ImageNet's figures."""
    return RelativeConfig(
        model_type=network.model_type,
        options=network.options,
        preprocess=PreprocessSpec(size=size, width=width, resize="bicubic", **_IMAGENET),
        multiple=network.multiple,
        refused_by=network.refused_by,
        unfused_on=network.unfused_on,
    )


RSA_DEPTH_ANYTHING = RsaConfig(relative=_seen_by_rsa(DEPTH_ANYTHING_SMALL, 434, 560))
RSA_DEPTH_ANYTHING_KITTI = RsaConfig(relative=_seen_by_rsa(DEPTH_ANYTHING_SMALL, 350, 1204))
RSA_DPT = RsaConfig(relative=_seen_by_rsa(DPT_HYBRID, 480, 640))  # NYUv2's own size: RSA resizes nothing here
RSA_DPT_KITTI = RsaConfig(relative=_seen_by_rsa(DPT_HYBRID, 352, 1216))  # KITTI's in the KB crop
RSA_MIDAS = RsaConfig(relative=_seen_by_rsa(MIDAS_SWIN2_LARGE, 384))
RSA_MINI = RsaConfig(
    relative=DEPTH_ANYTHING_MINI,
    text=CLIP_MINI_TEXT,
    head=HeadConfig(text=CLIP_MINI_TEXT.projection, scene=(128, 64), own=(32, 1)),
)
