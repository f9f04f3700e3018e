"""What is known of a built TensorRT engine: its sidecar. An engine is code for one provider, version and GPU."""

from __future__ import annotations

from dataclasses import dataclass

from edgedepth.core.spec import Precision, StageSpec

__all__ = ["BuildOptions", "EngineFacts", "Provider"]

Provider = str
"""Who built it: "tensorrt" (Jetson, data centre, desktop) or "tensorrt-rtx" (desktop RTX)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What is asked of a builder.

    Args:
        workspace_mb: the most scratch memory that a kernel may want; None leaves it to TensorRT, which may try
            kernels of many gigabytes.
        optimization_level: 0 (quick build) to 5 (fast engine); None is TensorRT's own, 3.
        dla_core: run on this deep learning accelerator of a Jetson, and on the GPU what it can't; None: on the GPU.
    """

    workspace_mb: int | None = None
    optimization_level: int | None = None
    dla_core: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """One engine of one stage.

    Args:
        stage: its name, and the inputs and outputs that the engine has to have.
        path: of the plan, relative to the bundle, or to the folder of the sidecar file in a cache.
        sha256: of the plan. A plan is code: nothing of another hash is loaded.
        size: of the plan, bytes.
        provider: who built it, and with that who can load it.
        version: of the provider: engines of another one are refused.
        sms: compute capabilities that it is for, 86 for 8.6.
        device: the GPU that it was built on; None: built ahead of time, without one.
        precision: of the bundle.
        onnx_sha256: of the graph and weights that it was built from.
        options: what was asked of the builder.
        build_s: seconds that the build took.
        peak_rss_mb: the most memory that the building process held, in MB; None where the system doesn't tell.
        on_gpu: layers that a DLA engine runs on the GPU, because the DLA can't.
    """

    stage: StageSpec
    path: str
    sha256: str
    size: int
    provider: Provider
    version: str
    sms: tuple[int, ...]
    device: str | None
    precision: Precision
    onnx_sha256: str
    options: BuildOptions
    build_s: float
    peak_rss_mb: float | None
    on_gpu: tuple[str, ...] = ()

    def left_to_gpu(self) -> str:
        """What a DLA couldn't take, in one line."""
        return f"the DLA leaves {len(self.on_gpu)} layers to the GPU: {', '.join(self.on_gpu)}"
