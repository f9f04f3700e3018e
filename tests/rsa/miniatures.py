"""Tiny relative models and RSA: the published topologies, sizes at which an export takes seconds."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from edgedepth.core.spec import PreprocessSpec
from edgedepth.models.clip_text_config import ClipTextConfig
from edgedepth.models.registry import LocalWeights, ModelEntry
from edgedepth.models.relative_config import RelativeConfig, RsaConfig
from edgedepth.models.rsa_head_config import HeadConfig
from edgedepth.models.zoedepth_config import InputRule, ZoeDepthConfig

IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
DPT = {
    "image_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "backbone_out_indices": [0, 1, 2, 3],
    "neck_hidden_sizes": [8, 16, 32, 32],
    "fusion_hidden_size": 16,
}


def network(
    model_type: str, size: int, width: int | None, multiple: int, *, unfused_on: tuple[str, ...] = (), **options: Any
) -> RelativeConfig:
    return RelativeConfig(
        model_type=model_type,
        options=MappingProxyType(options),
        preprocess=PreprocessSpec(size=size, width=width, resize="bicubic", **IMAGENET),
        multiple=multiple,
        unfused_on=unfused_on,
    )


NETWORKS: Mapping[str, RelativeConfig] = {
    "depth-anything-tiny": network(
        "depth_anything",
        56,
        70,
        14,
        backbone_config={
            "model_type": "dinov2",
            "image_size": 70,
            "patch_size": 14,
            "hidden_size": 32,
            "num_attention_heads": 2,
            "num_hidden_layers": 4,
            "out_indices": [1, 2, 3, 4],
            "apply_layernorm": True,
            "reshape_hidden_states": False,
        },
        reassemble_hidden_size=32,
        neck_hidden_sizes=[8, 16, 32, 32],
        fusion_hidden_size=16,
        head_hidden_size=8,
    ),
    "dpt-tiny": network("dpt", 64, None, 16, **DPT),
    "dpt-hybrid-tiny": network(
        "dpt",
        64,
        None,
        32,
        **DPT | {"neck_hidden_sizes": [32, 64, 32, 32]},
        is_hybrid=True,
        readout_type="project",
        backbone_config={
            "model_type": "bit",
            "global_padding": "same",
            "layer_type": "bottleneck",
            "depths": [1, 1, 1],
            "embedding_size": 32,
            "num_groups": 4,
            "hidden_sizes": [32, 64, 128],
            "out_features": ["stage1", "stage2", "stage3"],
            "embedding_dynamic_padding": True,
        },
        backbone_featmap_shape=[1, 128, 4, 4],
    ),
    "midas-swin2-tiny": network(
        "dpt",
        64,
        None,
        32,
        backbone_config={
            "model_type": "swinv2",
            "image_size": 64,
            "embed_dim": 16,
            "depths": [2, 2, 2, 2],
            "num_heads": [1, 2, 2, 4],
            "window_size": 2,
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
        },
        neck_hidden_sizes=[16, 32, 64, 128],
        unfused_on=("openvino",),
        fusion_hidden_size=16,
    ),
}


def zoedepth(*heads: tuple[str, float], bins: str = "softplus", **options: Any) -> ZoeDepthConfig:
    return ZoeDepthConfig(
        options=MappingProxyType(
            {
                "backbone_config": {
                    "model_type": "beit",
                    "image_size": 64,
                    "patch_size": 16,
                    "hidden_size": 32,
                    "intermediate_size": 64,
                    "num_hidden_layers": 4,
                    "num_attention_heads": 2,
                    "use_relative_position_bias": True,
                    "reshape_hidden_states": False,
                    "out_features": ["stage1", "stage2", "stage3", "stage4"],
                },
                "neck_hidden_sizes": [8, 16, 32, 32],
                "fusion_hidden_size": 16,
                "bottleneck_features": 16,
                "num_relative_features": 8,
                "bin_embedding_dim": 16,
                "num_attractors": [2, 1, 1, 1],  # each is a part of the graph
                "bin_centers_type": bins,
                "bin_configurations": [
                    {"name": name, "n_bins": 16, "min_depth": 1e-3, "max_depth": farthest} for name, farthest in heads
                ],
                **options,
            }
        ),
        rule=InputRule(height=64, width=96),
    )


ZOEDEPTHS: Mapping[str, ZoeDepthConfig] = {
    "zoedepth-n-tiny": zoedepth(("nyu", 10.0)),
    "zoedepth-k-tiny": zoedepth(("kitti", 80.0), bins="normed"),
    "zoedepth-nk-tiny": zoedepth(
        ("nyu", 10.0),
        ("kitti", 80.0),
        num_patch_transformer_layers=4,
        patch_transformer_hidden_size=128,  # the classifier's width is fixed
        patch_transformer_intermediate_size=64,
        patch_transformer_num_attention_heads=4,
        num_attractors=[1],  # scales, of 16 attractors each: two heads take their number from nobody
    ),
}
TEXT = ClipTextConfig(width=32, heads=2, layers=2, projection=1024)
"""As wide a result as RN50's, so that the released heads fit."""


def entry(name: str, config: RelativeConfig | RsaConfig | ZoeDepthConfig) -> ModelEntry:
    family: Literal["relative", "rsa", "zoedepth"] = "relative"
    if not isinstance(config, RelativeConfig):
        family = "rsa" if isinstance(config, RsaConfig) else "zoedepth"
    return ModelEntry(
        name=name,
        family=family,
        kind="relative_inverse" if family == "relative" else "metric",
        config=config,
        parameters=0,
        weights=LocalWeights(where="nowhere", licence="Apache-2.0"),
        licence="Apache-2.0",
        note="for tests",
    )


RSA_TINY = entry(
    "rsa-tiny",
    RsaConfig(
        relative=NETWORKS["depth-anything-tiny"], text=TEXT, head=HeadConfig(text=1024, scene=(64, 32), own=(16, 1))
    ),
)
ENTRIES = {
    RSA_TINY.name: RSA_TINY,
    **{name: entry(name, config) for name, config in (*NETWORKS.items(), *ZOEDEPTHS.items())},
}
