"""What can be asked of a TensorRT export beyond what every export takes. Plain data, for the command line too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edgedepth.core.engine import BuildOptions
from edgedepth.core.errors import OptionError, UnsupportedError
from edgedepth.core.spec import Precision

__all__ = ["DEFAULT_SMS", "FP8_SM", "EngineOptions", "ProviderChoice", "check_arithmetic", "parse_sms"]

ProviderChoice = Literal["auto", "tensorrt", "tensorrt-rtx"]

DEFAULT_SMS = (86, 89, 120)
"""What RTX builds for ahead of time: RTX 30, 40 and 50. Each costs about a kilobyte: one plan serves them all."""

FP8_SM = 89
"""The first compute capability whose tensor cores multiply FP8: RTX 40. Orin has 87, Thor 110, an H100 90."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How engines are built.

    Args:
        provider: "auto", "tensorrt" or "tensorrt-rtx".
        sms: compute capabilities to build for ahead of time (RTX); None: the GPU that is here, else DEFAULT_SMS.
        build: workspace, optimisation level, DLA.

    Raises:
        OptionError: a number that none of them takes.
    """

    provider: ProviderChoice = "auto"
    sms: tuple[int, ...] | None = None
    build: BuildOptions = field(default_factory=BuildOptions)

    def __post_init__(self) -> None:
        """Refuse what no TensorRT takes."""
        build = self.build
        for option, value, least, most in (
            ("--workspace-mb", build.workspace_mb, 1, None),
            ("--optimization-level", build.optimization_level, 0, 5),
            ("--dla", build.dla_core, 0, 1),
        ):
            whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (whole and least <= value and (most is None or value <= most)):
                raise OptionError(
                    f"{option} is {value!r}; allowed are {least} {'and more' if most is None else f'to {most}'}",
                    remedy=f"leave {option} out",
                )
        if self.sms is not None and self.provider == "tensorrt":
            raise OptionError(
                "--sm is for tensorrt-rtx; tensorrt builds for the GPU that it runs on",
                remedy="leave --sm out, or use --provider tensorrt-rtx",
            )


def check_arithmetic(precision: Precision, sms: tuple[int, ...]) -> None:
    """Refuse a precision that a GPU has no arithmetic for.

    Raises:
        UnsupportedError: FP8 before SM 89.
    """
    if precision == "fp8" and (older := [sm for sm in sms if sm < FP8_SM]):
        raise UnsupportedError(
            f"SM {older[0]} has no FP8 arithmetic, which came with SM {FP8_SM} (RTX 40, H100, Thor)",
            remedy="use a bundle of another precision there: edgedepth export --target tensorrt --fp16; for RTX 40 and "
            "50: --sm 89,120",
        )


def parse_sms(text: str) -> tuple[int, ...]:
    """Compute capabilities from words: "86,89,120", also "8.6".

    Raises:
        OptionError: not such a list.
    """
    parts = [part.strip().lower().removeprefix("sm").replace(".", "") for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise OptionError(f"--sm is {text!r}; allowed are numbers, as in 86,89,120", remedy="--sm 89")
    return tuple(sorted({int(part) for part in parts}))
