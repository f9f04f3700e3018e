"""Exporters: what each target takes, and the one interface they share."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgedepth.core.bundle import Bundle
from edgedepth.core.errors import OptionError
from edgedepth.core.progress import Progress, silent
from edgedepth.core.spec import DEFAULT_TILE_BATCH, Layout, Precision
from edgedepth.core.targets import ALIASES
from edgedepth.exporters.coreml_options import CoreMlOptions
from edgedepth.trt.options import EngineOptions

if TYPE_CHECKING:
    from edgedepth.models.loading import LoadedModel

__all__ = ["DEFAULT_OPSET", "EXPORTERS", "ExportOptions", "Exporter", "Support", "exporter_for"]

DEFAULT_OPSET = 20
"""Of ONNX, where nothing else is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What is asked of an exporter. An option that can't be had is refused, never changed.

    Args:
        precision: of the arithmetic; inputs and outputs stay float32.
        layout: "staged" (one graph a stage) or "single" (one graph, image in, inverse depth and FOV out).
        tile_batch: tiles a call of the patch encoder takes; it divides the work into micro-batches.
        dynamic_batch: let the patch encoder take any number of tiles, chosen when it runs.
        decoder_windows: export the decoder a second time, in windows: reuse between frames then decodes only what
            changed. For a staged Depth Pro.
        opset: ONNX opset, 17 to 20; for bundles of ONNX only.
        frame_size: width and height of the camera's frames in pixels, for models whose input follows them; None: 4:3.
        engine: how TensorRT builds; None: its defaults. For bundles of TensorRT only.
        coreml: for bundles of Core ML only.
    """

    precision: Precision = "fp32"
    layout: Layout = "staged"
    tile_batch: int = DEFAULT_TILE_BATCH
    dynamic_batch: bool = False
    decoder_windows: bool = False
    opset: int = DEFAULT_OPSET
    frame_size: tuple[int, int] | None = None
    engine: EngineOptions | None = None
    coreml: CoreMlOptions = field(default_factory=CoreMlOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """An answer: can be exported, or the reason against and what to do instead."""

    ok: bool
    reason: str = ""
    remedy: str = ""


class Exporter(Protocol):
    """Writes bundles for one target.

    Attributes:
        target: what its bundles are for.
        needs: the modules of its toolchain.
        extras: the extras of edgedepth that install them: "export,openvino".
    """

    target: str
    needs: tuple[str, ...]
    extras: str

    def check(self, options: ExportOptions) -> Support:
        """Whether these options can be met, without side effects and without importing a toolchain."""
        ...

    def export(self, source: LoadedModel, options: ExportOptions, out: Path, *, progress: Progress = silent) -> Bundle:
        """Export a model into the folder `out`, atomically.

        Raises:
            UnsupportedError: check() says no.
            MissingExtraError: the toolchain isn't installed.
            ExportFailedError: the toolchain gave up.
            OutputError, BundleBusyError: the folder can't be written.
        """
        ...


EXPORTERS: dict[str, str] = {
    "onnx": "edgedepth.exporters.to_onnx:OnnxExporter",
    "openvino": "edgedepth.exporters.to_openvino:OpenVinoExporter",
    "tensorrt": "edgedepth.exporters.to_tensorrt:TensorRtExporter",
    "coreml": "edgedepth.exporters.to_coreml:CoreMlExporter",
    "coreai": "edgedepth.exporters.to_coreai:CoreAiExporter",
}


def exporter_for(target: str) -> Exporter:
    """The exporter for a target or its alias.

    Raises:
        OptionError: no target is called that.
    """
    target = ALIASES.get(target, target)
    if target not in EXPORTERS:
        raise OptionError(
            f"there is no target {target!r}; allowed are {', '.join(EXPORTERS)}",
            remedy="edgedepth export --help lists them",
        )
    module, _, attribute = EXPORTERS[target].partition(":")
    factory: Callable[[], Exporter] = getattr(importlib.import_module(module), attribute)
    return factory()
