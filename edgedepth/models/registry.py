"""The models there are, as data: sizes, licences, and where the weights come from. No torch in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from edgedepth.core.errors import OptionError
from edgedepth.models import relative_config as relative
from edgedepth.models.depth_pro_config import DEPTH_PRO, DEPTH_PRO_MINI, DepthProConfig
from edgedepth.models.relative_config import RelativeConfig, RsaConfig
from edgedepth.models.zoedepth_config import ZOEDEPTH_KITTI, ZOEDEPTH_NYU, ZOEDEPTH_NYU_KITTI, ZoeDepthConfig

__all__ = [
    "DEFAULT_MODEL",
    "MODELS",
    "LocalWeights",
    "ModelEntry",
    "ShippedParts",
    "ShippedWeights",
    "WeightsSource",
    "model_entry",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsSource:
    """A published checkpoint.

    Args:
        repo: repository on the Hugging Face hub.
        revision: branch, tag or commit.
        file: the checkpoint's name in it.
        sha256: hex digest that a download must have.
        size: bytes.
        licence: the name that its publisher gives it.
        licence_url: where it can be read.
    """

    repo: str
    revision: str
    file: str
    sha256: str
    size: int
    licence: str
    licence_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedWeights:
    """A checkpoint in this package.

    Args:
        file: its path from this folder.
        sha256: hex digest of it.
        size: bytes.
    """

    file: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedParts:
    """An RSA model in this package.

    Args:
        folder: of its parts, from this folder.
        parts: the network's, the text encoder's and the head's files: "relative", "text", "head".
    """

    folder: str
    parts: Mapping[str, ShippedWeights]

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for part in self.parts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalWeights:
    """Weights that the user brings: nobody here could pin their hashes, or their publisher states no licence.

    Args:
        where: who publishes them.
        licence: of them, in words.
    """

    where: str
    licence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One row of `edgedepth models`.

    Args:
        name: what --model takes.
        family: which program runs it.
        kind: what its output means.
        config: its sizes.
        parameters: how many weights it has.
        weights: where they are.
        figures: what the weights' publisher measured: by data set, then by metric.
        demonstration: made to try the tools, not to be relied on: chosen only with a warning.
        licence: of the weights.
        note: what a user has to know before choosing it.
    """

    name: str
    family: Literal["depth-pro", "relative", "rsa", "zoedepth"]
    kind: Literal["metric", "relative_inverse"]
    config: DepthProConfig | RelativeConfig | RsaConfig | ZoeDepthConfig
    parameters: int
    weights: WeightsSource | ShippedWeights | ShippedParts | LocalWeights
    licence: str
    note: str
    demonstration: bool = False
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: MappingProxyType({}))


DEFAULT_MODEL = "depth-pro"


def _relative(name: str, config: RelativeConfig, parameters: int, repo: str, licence: str) -> ModelEntry:
    return ModelEntry(
        name=name,
        family="relative",
        kind="relative_inverse",
        config=config,
        parameters=parameters,
        weights=LocalWeights(where=f"{repo} on the Hugging Face hub", licence=licence),
        licence=licence,
        note="inverse depth up to scale and shift; pass scale_shift for metres",
    )


def _rsa(name: str, config: RsaConfig, parameters: int, *, head: str, network: str, size: str) -> ModelEntry:
    return ModelEntry(
        name=name,
        family="rsa",
        kind="metric",
        config=config,
        parameters=parameters,
        weights=LocalWeights(
            where=f"{network}; OpenAI's CLIP RN50.pt; {head} of github.com/Adonis-galaxy/RSA",
            licence="of its three parts; the head's publisher states none",
        ),
        licence="of its three parts; the head's publisher states none",
        note=f"metres from a caption (arXiv 2410.02924), at RSA's own input size for {size}",
        figures=_HEAD_FIGURES[head],
    )


def _zoedepth(name: str, config: ZoeDepthConfig, parameters: int, *, places: str) -> ModelEntry:
    return ModelEntry(
        name=name,
        family="zoedepth",
        kind="metric",
        config=config,
        parameters=parameters,
        weights=LocalWeights(where=f"Intel/{name} on the Hugging Face hub", licence="MIT"),
        licence="MIT",
        note=f"metres of {places}, without a caption or a focal length (arXiv 2302.12288)",
    )


# What stands in the released heads themselves: the best figures of their training, without alignment by the truth.
_HEAD_FIGURES: dict[str, dict[str, dict[str, float]]] = {
    "da_lanscale": {
        "nyu": {"abs_rel": 0.1418, "rmse": 0.4725, "delta1": 0.7990},
        "kitti": {"abs_rel": 0.1562, "rmse": 4.0968, "delta1": 0.7920},
    },
    "dpt_lanscale": {
        "nyu": {"abs_rel": 0.0992, "rmse": 0.3489, "delta1": 0.9141},
        "kitti": {"abs_rel": 0.0664, "rmse": 2.3698, "delta1": 0.9576},
    },
    "midas_lanscale": {
        "nyu": {"abs_rel": 0.1597, "rmse": 0.5307, "delta1": 0.7455},
        "kitti": {"abs_rel": 0.1593, "rmse": 4.1981, "delta1": 0.7719},
    },
}

_APACHE, _NC = "Apache-2.0", "CC-BY-NC-4.0 (not for commercial use)"
_HUB = " on the Hugging Face hub"
_TUNED_DPT = "DPT-Hybrid fine-tuned on {} (github.com/isl-org/DPT), converted by transformers' script"
_LIHE, _V2 = "LiheYoung/depth-anything-{}-hf", "depth-anything/Depth-Anything-V2-{}-hf"

MODELS: dict[str, ModelEntry] = {
    entry.name: entry
    for entry in (
        ModelEntry(
            name="depth-pro",
            family="depth-pro",
            kind="metric",
            config=DEPTH_PRO,
            parameters=951_991_330,
            weights=WeightsSource(
                repo="apple/DepthPro",
                # Commit and sha256 are stated alike by several unrelated public projects that pin the file.
                revision="ccd1350a774eb2248bcdfb3be430e38f1d3087ef",
                file="depth_pro.pt",
                sha256="3eb35ca68168ad3d14cb150f8947a4edf85589941661fdb2686259c80685c0ce",
                size=1_904_446_787,
                licence="Apple Machine Learning Research Model licence (research only)",
                licence_url="https://huggingface.co/apple/DepthPro/blob/ccd1350a774eb2248bcdfb3be430e38f1d3087ef/LICENSE",
            ),
            licence="Apple Machine Learning Research Model licence (research only)",
            note="Depth Pro as published (arXiv 2410.02073)",
        ),
        ModelEntry(
            name="depth-pro-mini",
            family="depth-pro",
            kind="metric",
            config=DEPTH_PRO_MINI,
            parameters=9_197_086,
            weights=ShippedWeights(
                file="shipped/depth_pro_mini/model.safetensors",
                sha256="3224e0e3bcdcee2441949e71f703d8d56bfa62807741ee6d15cf513cb4828060",
                size=18_432_764,
            ),
            licence="Apache-2.0",
            note="DEMONSTRATION: the same topology, small, trained on procedural scenes alone; not for a robot",
            demonstration=True,
        ),
        _relative("depth-anything-small", relative.DEPTH_ANYTHING_SMALL, 24_785_089, _LIHE.format("small"), _APACHE),
        _relative("depth-anything-base", relative.DEPTH_ANYTHING_BASE, 97_470_785, _LIHE.format("base"), _APACHE),
        _relative("depth-anything-large", relative.DEPTH_ANYTHING_LARGE, 335_315_649, _LIHE.format("large"), _APACHE),
        _relative(
            "depth-anything-v2-small", relative.DEPTH_ANYTHING_V2_SMALL, 24_785_089, _V2.format("Small"), _APACHE
        ),
        _relative("depth-anything-v2-base", relative.DEPTH_ANYTHING_V2_BASE, 97_470_785, _V2.format("Base"), _NC),
        _relative("depth-anything-v2-large", relative.DEPTH_ANYTHING_V2_LARGE, 335_315_649, _V2.format("Large"), _NC),
        _relative("dpt-large", relative.DPT_LARGE, 343_030_465, "Intel/dpt-large", _APACHE),
        _relative("dpt-hybrid", relative.DPT_HYBRID, 122_377_985, "Intel/dpt-hybrid-midas", _APACHE),
        _relative("midas-swin2-large", relative.MIDAS_SWIN2_LARGE, 211_871_797, "Intel/dpt-swinv2-large-384", "MIT"),
        _zoedepth("zoedepth-nyu", ZOEDEPTH_NYU, 343_789_698, places="rooms"),
        _zoedepth("zoedepth-kitti", ZOEDEPTH_KITTI, 343_793_439, places="streets"),
        _zoedepth("zoedepth-nyu-kitti", ZOEDEPTH_NYU_KITTI, 345_073_307, places="rooms and streets"),
        _rsa(
            "rsa-depth-anything",
            relative.RSA_DEPTH_ANYTHING,
            89_279_683,
            head="da_lanscale",
            network=_LIHE.format("small") + _HUB,
            size="NYUv2",
        ),
        _rsa(
            "rsa-depth-anything-kitti",
            relative.RSA_DEPTH_ANYTHING_KITTI,
            89_279_683,
            head="da_lanscale",
            network=_LIHE.format("small") + _HUB,
            size="KITTI",
        ),
        _rsa(
            "rsa-dpt",
            relative.RSA_DPT,
            186_872_579,
            head="dpt_lanscale",
            network=_TUNED_DPT.format("NYUv2"),
            size="NYUv2",
        ),
        _rsa(
            "rsa-dpt-kitti",
            relative.RSA_DPT_KITTI,
            186_872_579,
            head="dpt_lanscale",
            network=_TUNED_DPT.format("KITTI"),
            size="KITTI",
        ),
        _rsa(
            "rsa-midas",
            relative.RSA_MIDAS,
            276_366_391,
            head="midas_lanscale",
            network="Intel/dpt-swinv2-large-384" + _HUB,
            size="all data sets",
        ),
        ModelEntry(
            name="rsa-mini",
            family="rsa",
            kind="metric",
            config=relative.RSA_MINI,
            parameters=6_871_099,
            weights=ShippedParts(
                folder="shipped/rsa_mini",
                parts={
                    "relative": ShippedWeights(
                        file="shipped/rsa_mini/relative/model.safetensors",
                        sha256="46489e0c1ee1e623cc7506c004bf912b4b5c857d928a34e1e8a15d1cf10f6e62",
                        size=7_178_202,
                    ),
                    "text": ShippedWeights(
                        file="shipped/rsa_mini/text.safetensors",
                        sha256="1974b399c7713710bc82df4ff7c703dca2f9ed5a4a979735529f2e5b340b35e7",
                        size=6_545_416,
                    ),
                    "head": ShippedWeights(
                        file="shipped/rsa_mini/head.safetensors",
                        sha256="e0a72bc2f117b05bfbafc5c3cbb06ee78af4fd0feab9a0f2599eed53c30500fb",
                        size=84_208,
                    ),
                },
            ),
            licence="Apache-2.0",
            note="DEMONSTRATION: RSA's topology, small, trained on procedural scenes alone; not for a robot",
            demonstration=True,
        ),
    )
}


def model_entry(name: str) -> ModelEntry:
    """The entry of that name.

    Raises:
        OptionError: no model is called that.
    """
    if name not in MODELS:
        raise OptionError(
            f"there is no model {name!r}; allowed are {', '.join(MODELS)}", remedy="edgedepth models lists them"
        )
    return MODELS[name]
