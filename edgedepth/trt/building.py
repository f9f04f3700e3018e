"""One typed ONNX graph to one engine and its sidecar."""

from __future__ import annotations

import contextlib
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

from edgedepth.core.engine import EngineFacts
from edgedepth.core.onnx_header import check_onnx
from edgedepth.core.progress import Progress
from edgedepth.core.spec import Precision, StageSpec
from edgedepth.core.store import cache_folder
from edgedepth.trt.adapter import BuildRequest, GpuFacts, TensorRt
from edgedepth.trt.options import DEFAULT_SMS, FP8_SM, EngineOptions, check_arithmetic

__all__ = ["Graph", "build_engine", "plan_name", "target_sms"]

_MOST_TILES = 35
"""Depth Pro's tiles of a frame: what a batch that may vary reaches at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """What is built.

    Args:
        stage: as the graph declares it.
        onnx: the file.
        sha256: of the graph and its weights (engines.onnx_digest).
        precision: of the bundle.
    """

    stage: StageSpec
    onnx: Path
    sha256: str
    precision: Precision


def build_engine(
    graph: Graph, provider: TensorRt, gpu: GpuFacts | None, options: EngineOptions, progress: Progress
) -> tuple[bytes | memoryview, EngineFacts]:
    """Build one stage.

    Args:
        graph: what to build.
        provider: who builds.
        gpu: the GPU that is here; None builds ahead of time.
        options: how.
        progress: told of each phase of the builder.

    Returns:
        The plan, and its sidecar, whose path is the plan's file name alone.

    Raises:
        ExportFailedError, DeviceMemoryError, UnsupportedError: as TensorRt.build.
    """
    ahead = options.sms is not None or gpu is None
    built_for = target_sms(gpu, options, graph.precision)
    sms = built_for if ahead else ()
    request = BuildRequest(
        onnx=graph.onnx,
        sms=sms,
        options=options.build,
        batch=_batch_range(graph.stage),
        timing_cache=None if gpu is None else _timing_cache(provider, gpu),
    )
    check_onnx(graph.onnx)
    _reset_peak()
    start = time.perf_counter()
    built = provider.build(request, progress)
    seconds = time.perf_counter() - start
    device = None if ahead or gpu is None else gpu.name
    digest = hashlib.sha256(built.data).hexdigest()
    facts = EngineFacts(
        stage=graph.stage,
        path=plan_name(provider, built_for, digest),
        sha256=digest,
        size=len(built.data),
        provider=provider.provider,
        version=provider.version,
        sms=built_for,
        device=device,
        precision=graph.precision,
        onnx_sha256=graph.sha256,
        options=options.build,
        build_s=round(seconds, 3),
        peak_rss_mb=_peak_rss_mb(),
        on_gpu=built.on_gpu,
    )
    return built.data, facts


def target_sms(gpu: GpuFacts | None, options: EngineOptions, precision: Precision) -> tuple[int, ...]:
    """The compute capabilities that an engine will be for.

    Raises:
        UnsupportedError: one of them has no arithmetic for the precision.
    """
    if options.sms is not None:
        sms = options.sms
    elif gpu is not None:
        sms = (gpu.sm,)
    else:
        sms = tuple(sm for sm in DEFAULT_SMS if precision != "fp8" or sm >= FP8_SM)
    check_arithmetic(precision, sms)
    return sms


def plan_name(provider: TensorRt, sms: tuple[int, ...], digest: str) -> str:
    """A file name that tells what a plan is for: "tensorrt-rtx-1.7.1-sm86_89-0a1b2c3d.plan"."""
    return f"{provider.provider}-{provider.version}-sm{'_'.join(map(str, sms))}-{digest[:8]}.plan"


def _batch_range(stage: StageSpec) -> tuple[int, int, int] | None:
    dynamic = any(isinstance(size, str) for tensor in stage.inputs for size in tensor.shape)
    return (1, 5, _MOST_TILES) if dynamic else None


def _timing_cache(provider: TensorRt, gpu: GpuFacts) -> Path:
    name = f"timing-{provider.provider}-{provider.version}-sm{gpu.sm}.cache"
    return cache_folder() / "tensorrt" / name


def _reset_peak() -> None:
    """Forget the process's largest memory so far (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_rss_mb() -> float | None:
    """The most memory that this process held since _reset_peak(); None where the system doesn't tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1e3 * 1.024, 1)
    return None
