"""edgedepth: monocular metric depth on the edge, with proof.

    >>> from edgedepth import EdgeDepth
    >>> depth = EdgeDepth(backend="onnx").infer(frame).depth   # metres

Importing needs numpy and OpenCV only; every other package is imported where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgedepth.calibrating import calibrate
    from edgedepth.camera_files import read_intrinsics
    from edgedepth.cameras.intrinsics import Intrinsics
    from edgedepth.core.bundle import Bundle, open_bundle
    from edgedepth.core.errors import EdgeDepthError
    from edgedepth.debugging import debug_bundle
    from edgedepth.diagnosis import diagnose
    from edgedepth.evaluating import evaluate
    from edgedepth.exporting import export_bundle
    from edgedepth.facade import EdgeDepth
    from edgedepth.models.listing import list_models
    from edgedepth.pool import EdgeDepthPool
    from edgedepth.programs.reuse import ReusePolicy
    from edgedepth.result import DepthResult
    from edgedepth.streams.frames import TimedFrame
    from edgedepth.verifying import verify_bundle

__all__ = [
    "Bundle",
    "DepthResult",
    "EdgeDepth",
    "EdgeDepthError",
    "EdgeDepthPool",
    "Intrinsics",
    "ReusePolicy",
    "TimedFrame",
    "__version__",
    "calibrate",
    "debug_bundle",
    "diagnose",
    "evaluate",
    "export_bundle",
    "list_models",
    "open_bundle",
    "read_intrinsics",
    "verify_bundle",
]

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "core.bundle",
    "DepthResult": "result",
    "EdgeDepth": "facade",
    "EdgeDepthError": "core.errors",
    "EdgeDepthPool": "pool",
    "Intrinsics": "cameras.intrinsics",
    "ReusePolicy": "programs.reuse",
    "TimedFrame": "streams.frames",
    "calibrate": "calibrating",
    "debug_bundle": "debugging",
    "diagnose": "diagnosis",
    "evaluate": "evaluating",
    "export_bundle": "exporting",
    "list_models": "models.listing",
    "open_bundle": "core.bundle",
    "read_intrinsics": "camera_files",
    "verify_bundle": "verifying",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'edgedepth' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"edgedepth.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
