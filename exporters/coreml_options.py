"""What can be asked of a Core ML export beyond what every target takes. No toolchain in here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edgedepth.core.errors import OptionError

__all__ = [
    "DEPLOYMENT_TARGETS",
    "MAX_TILE_BATCH",
    "MULTIFUNCTION_SINCE",
    "ComputeLayout",
    "CoreMlOptions",
    "deployment_target_named",
]

ComputeLayout = Literal["gpu", "ane"]

DEPLOYMENT_TARGETS = {"iOS16": 7, "iOS17": 8, "iOS18": 9, "iOS26": 10}
"""The systems that packages are made for, oldest first, each with its specification version. iOS 16 is the first with
mlprogram's typed weights of 8 bits."""

_MACOS = {"macOS13": "iOS16", "macOS14": "iOS17", "macOS15": "iOS18", "macOS26": "iOS26"}

MULTIFUNCTION_SINCE = "iOS18"

MAX_TILE_BATCH = 9
"""Fused attention on Apple's GPUs is reported wrong from a batch of 10 on (apple/coremltools#2650)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreMlOptions:
    """Options of `--target coreml`.

    Args:
        deployment_target: the oldest system that shall run it: "iOS17", or its macOS of the same year, "macOS14".
        compute_layout: "gpu" leaves the transformers as they are; "ane" writes them as the Neural Engine takes them.
        image_input: inputs called "image" take pictures (RGB, 8 bits) instead of tensors in -1..1.
        multifunction: one package with a function a stage, instead of a package a stage.
    """

    deployment_target: str = "iOS17"
    compute_layout: ComputeLayout = "gpu"
    image_input: bool = False
    multifunction: bool = False

    def __post_init__(self) -> None:
        """Refuse words that mean nothing.

        Raises:
            OptionError: an unknown deployment target or compute layout.
        """
        deployment_target_named(self.deployment_target)
        if self.compute_layout not in get_args(ComputeLayout):
            raise OptionError(
                f"there is no compute layout {self.compute_layout!r}; allowed are {', '.join(get_args(ComputeLayout))}",
                remedy="leave --compute-layout out, or use --compute-layout ane for the Neural Engine",
            )


def deployment_target_named(name: str) -> str:
    """The iOS that a name means: "macOS14" is "iOS17"; capitals don't count.

    Raises:
        OptionError: no system is called that.
    """
    names = {known.lower(): known for known in DEPLOYMENT_TARGETS} | {mac.lower(): ios for mac, ios in _MACOS.items()}
    if not isinstance(name, str) or name.lower() not in names:
        raise OptionError(
            f"there is no deployment target {name!r}; allowed are {', '.join((*DEPLOYMENT_TARGETS, *_MACOS))}",
            remedy="leave --deployment-target out: it is iOS17, which is macOS14 too",
        )
    return names[name.lower()]
