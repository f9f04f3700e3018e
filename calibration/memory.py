"""Whether calibration fits into memory, told before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgedepth.calibration.ranges import GROUP_BYTES, tensor_bytes
from edgedepth.core.errors import UnsupportedError

__all__ = ["StageNeed", "available_memory", "check_memory", "need_of"]

# Measured on depth-pro's patch encoder (1.2 GB of weights): the session holds the mapped file and its prepacked copy;
# the quantizer the fp32 weights, a layer in float32 and the INT8 ones.
_WEIGHT_COPIES = 2.5
_LIVE_TENSORS = 6  # of the largest size, while a stage runs
_BASE = 400 << 20  # Python, onnx, onnxruntime


@dataclass(frozen=True, slots=True, kw_only=True)
class StageNeed:
    """What calibrating a stage takes, in bytes.

    Args:
        weights: of the stage.
        activations: that leave it at once, and that are alive inside of it.
        batch: tiles in these activations; 1 for a stage that takes a frame at once.
    """

    weights: int
    activations: int
    batch: int = 1

    def total(self, batch: int | None = None) -> int:
        """All of it, at another number of tiles a time."""
        share = 1.0 if batch is None else batch / self.batch
        return int(_BASE + _WEIGHT_COPIES * self.weights + share * self.activations)


def need_of(source: Path, *, batch: int = 1) -> StageNeed:
    """Estimate a stage's need from its fp32 .onnx, without reading its weights.

    Args:
        source: the file; its .data beside it.
        batch: tiles in its inputs.
    """
    sizes = sorted(tensor_bytes(source).values(), reverse=True)
    live = _LIVE_TENSORS * (sizes[0] if sizes else 0)
    data = source.with_name(f"{source.name}.data")
    weights = data.stat().st_size if data.is_file() else source.stat().st_size
    return StageNeed(weights=weights, activations=live + min(GROUP_BYTES, sum(sizes)), batch=batch)


def check_memory(needs: Mapping[str, StageNeed], available: int | None) -> None:
    """Refuse what doesn't fit.

    Args:
        needs: by stage; stages are calibrated one after the other.
        available: bytes; None where the system doesn't tell.

    Raises:
        UnsupportedError: with the smaller tile batch that fits, if one does.
    """
    if available is None:
        return
    for stage, need in needs.items():
        if need.total() <= available:
            continue
        fitting = [batch for batch in range(1, need.batch) if need.total(batch) <= available]
        raise UnsupportedError(
            f"calibrating stage {stage} takes about {need.total() / 1e9:.1f} GB at {need.batch} tiles a time; "
            f"{available / 1e9:.1f} GB are free",
            remedy=f"use --tile-batch {fitting[-1]}, which takes {need.total(fitting[-1]) / 1e9:.1f} GB"
            if fitting
            else "free memory, or quantise on a larger machine and copy the bundle",
        )


def available_memory() -> int | None:
    """Bytes that can be had without swapping, as Linux tells; None elsewhere."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(found[0]) if found else None
