"""The models there are, as data: sizes, licences, and where the weights come from. No torch in here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgedepth.core.errors import OptionError
from edgedepth.models.depth_pro_config import DEPTH_PRO, DEPTH_PRO_MINI, DepthProConfig

__all__ = ["DEFAULT_MODEL", "MODELS", "ModelEntry", "ShippedWeights", "WeightsSource", "model_entry"]


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
class ModelEntry:
    """One row of `edgedepth models`.

    Args:
        name: what --model takes.
        family: which program runs it.
        kind: what its output means.
        config: its sizes.
        parameters: how many weights it has.
        weights: where they are.
        demonstration: made to try the tools, not to be relied on: chosen only with a warning.
        licence: of the weights.
        note: what a user has to know before choosing it.
    """

    name: str
    family: Literal["depth-pro"]
    kind: Literal["metric"]
    config: DepthProConfig
    parameters: int
    weights: WeightsSource | ShippedWeights
    licence: str
    note: str
    demonstration: bool = False


DEFAULT_MODEL = "depth-pro"

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
                sha256="189cdf58d39a97f2f3c5dc6b0414658ec41bd428ac3ef8b76da175b1aa21e67f",
                size=18_432_764,
            ),
            licence="Apache-2.0",
            note="DEMONSTRATION: the same topology, small, trained on procedural scenes alone; not for a robot",
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
