"""What a look for the first error found: the chain, the block, the cause."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edgedepth.core.plain import to_plain
from edgedepth.verify.blame import InnerError
from edgedepth.verify.causes import Cause

__all__ = ["DebugReport", "Link"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One link of the chain from picture to metres.

    Args:
        what: a stage's name, or a part of the host's work.
        max_rel: its largest error.
        mean_rel: its mean error.
        good: whether it is within the tolerance.
        told: more, in words.
        nan: values that are NaN.
        inf: values that are infinite.
    """

    what: str
    max_rel: float
    mean_rel: float
    good: bool
    told: str = ""
    nan: int = 0
    inf: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugReport:
    """The outcome.

    Args:
        bundle: its folder.
        reference: what it was compared with.
        where: what computed it (ON_DEVICE, OFF_DEVICE).
        precision: of the bundle.
        chain: from picture to metres, in order; stages are fed the reference's own inputs.
        failures: as a parity report tells them.
        notes: what a reader has to know.
        blocks: of the first wrong stage, what each block hands on.
        tensors: inside of its first wrong block.
        first_block: "patch_encoder/vit.blocks.7"; None where nothing is wrong, or no graph could be looked into.
        first_tensor: the first wrong one.
        cause: what usually causes that; None where nothing points to one.
    """

    bundle: str
    reference: str
    where: str
    precision: str
    chain: tuple[Link, ...]
    failures: tuple[str, ...]
    notes: tuple[str, ...] = ()
    blocks: tuple[InnerError, ...] = ()
    tensors: tuple[InnerError, ...] = ()
    first_block: str | None = None
    first_tensor: InnerError | None = None
    cause: Cause | None = None

    @property
    def first(self) -> Link | None:
        """The first link that is wrong."""
        return next((link for link in self.chain if not link.good), None)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return self.first is None and not self.failures

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; a figure that is not finite is null."""
        first = self.first
        told: dict[str, Any] = _finite(
            {
                "passed": self.passed,
                "bundle": self.bundle,
                "reference": self.reference,
                "where": self.where,
                "precision": self.precision,
                "chain": [to_plain(link) for link in self.chain],
                "first": first.what if first else None,
                "first_block": self.first_block,
                "first_tensor": _inner(self.first_tensor) if self.first_tensor else None,
                "cause": to_plain(self.cause) if self.cause else None,
                "blocks": [_inner(error) for error in self.blocks],
                "tensors": [_inner(error) for error in self.tensors],
                "failures": list(self.failures),
                "notes": list(self.notes),
            }
        )
        return told


def _inner(error: InnerError) -> dict[str, Any]:
    return {
        "tensor": error.tensor,
        "node": error.node.name,
        "op": error.node.op,
        "block": error.node.block,
        "layer": error.node.layer,
        "largest": error.largest,
        "found": error.found,
        "factor": error.factor,
        **to_plain(error.error),
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
