"""export_bundle: a model's name in, a verified-ready bundle out."""

from __future__ import annotations

import os
from pathlib import Path

from edgedepth.core.bundle import Bundle, is_bundle, peek_manifest
from edgedepth.core.errors import UnsupportedError
from edgedepth.core.progress import Announce, Progress, silent, unheard
from edgedepth.core.store import bundle_folder, check_room
from edgedepth.core.targets import ALIASES
from edgedepth.exporters.base import ExportOptions, exporter_for
from edgedepth.exporters.writing import check_family
from edgedepth.models.loading import load_model
from edgedepth.models.registry import DEFAULT_MODEL, model_entry

__all__ = ["export_bundle"]


def export_bundle(
    model: str = DEFAULT_MODEL,
    target: str = "onnx",
    *,
    options: ExportOptions | None = None,
    weights: str | Path | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
    announce: Announce = unheard,
) -> Bundle:
    """Export a model.

    Args:
        model: its name; `edgedepth models` lists them.
        target: "onnx", "openvino", "tensorrt", "coreml" or "coreai".
        options: precision, layout, tile batch; None for the defaults.
        weights: a checkpoint, "random:SEED", or None: the cache, else a download.
        out: the bundle's folder; None: in the artefact store, where EdgeDepth finds it.
        progress: told of each step.
        announce: told, in one line each, what a person has to know: the licence before a download.

    Returns:
        The bundle, written whole.

    Raises:
        OptionError, UnsupportedError: an unknown name, or options that can't be met; nothing was loaded or written.
        WeightsError: the weights can't be had.
        ExportFailedError: the toolchain gave up.
        OutputError, BundleBusyError: the folder can't be written.
    """
    options = options or ExportOptions()
    if options.precision == "int8" and ALIASES.get(target, target) != "coreml":  # whose int8 is of weights alone
        raise UnsupportedError(
            "INT8 is made and measured on a calibration set, which this function doesn't take",
            remedy="edgedepth export --int8 --calib SET, or edgedepth.quantizing.exporting.export_int8_bundle",
        )
    if options.precision == "fp8":
        raise UnsupportedError(
            "FP8 is made and measured on a calibration set, which this function doesn't take",
            remedy="edgedepth export --target tensorrt --fp8 --calib SET, or "
            "edgedepth.quantizing.fp8.export_fp8_bundle",
        )
    entry = model_entry(model)
    exporter = exporter_for(target)
    support = exporter.check(options)
    if support.ok:
        support = check_family(entry, exporter.target, options)
    if not support.ok:
        raise UnsupportedError(support.reason, remedy=support.remedy)
    folder = (
        Path(out) if out is not None else bundle_folder(entry.name, exporter.target, options.precision, options.layout)
    )
    _look_at(folder, announce)
    frame = None if options.frame_size is None else (options.frame_size[1], options.frame_size[0])
    loaded = load_model(entry.name, weights=weights, frame=frame, announce=announce)
    return exporter.export(loaded, options, folder, progress=progress)


def _look_at(folder: Path, announce: Announce) -> None:
    """Refuse a folder that can't become the bundle before gigabytes are fetched and loaded, and tell what goes."""
    check_room(folder)
    if is_bundle(folder):
        old = peek_manifest(folder)
        announce(
            f"{folder} is replaced: {old.model.name} of {old.created_utc}, {old.target} {old.precision}, "
            f"weights {old.model.source}"
        )
