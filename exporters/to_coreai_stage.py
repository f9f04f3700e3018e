"""One torch module to one Core AI model asset (.aimodel), and the proof that it declares what was asked for."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgedepth.core.errors import EdgeDepthError, ExportFailedError
from edgedepth.core.optional import require
from edgedepth.core.spec import StageSpec
from edgedepth.exporters.coreml_metadata import PackageMetadata, describe_stage

__all__ = ["check_toolchain", "export_stage"]

_REMEDY = "report it with this line and the versions that 'edgedepth doctor' lists; --target coreml may work"
_PURPOSE = "to export to Core AI"
_CORE_MLS = ("edgedepth.deployment_target", "edgedepth.compute_layout")  # options that Core AI hasn't


def check_toolchain() -> None:
    """Refuse a machine without the toolchain before anything is written.

    Raises:
        MissingExtraError: coreai-torch isn't installed, or doesn't import.
    """
    _coreai_torch()


def export_stage(module: nn.Module, stage: StageSpec, asset: Path, metadata: PackageMetadata) -> None:
    """Export a stage at fp32 and check what the asset declares.

    Args:
        module: takes the stage's inputs by position and returns a tuple of its outputs; it is not changed.
        stage: what the asset shall declare; every dimension is a number.
        asset: the .aimodel, a folder that isn't there yet, in one that is.
        metadata: author, licence, constants.

    Raises:
        ExportFailedError: a toolchain gave up, or wrote something else than was asked for.
        MissingExtraError: coreai-torch isn't installed.
        OSError: the disk.
    """
    coreai_torch = _coreai_torch()
    example = tuple(torch.zeros([int(size) for size in spec.shape]) for spec in stage.inputs)
    try:
        with _quietly(), torch.no_grad():
            exported = torch.export.export(module.eval(), example).run_decompositions(coreai_torch.get_decomp_table())
            converter = coreai_torch.TorchConverter().add_exported_program(
                exported,
                input_names=[spec.name for spec in stage.inputs],
                output_names=[spec.name for spec in stage.outputs],
            )
            written = converter.to_coreai().save_asset(asset)
            written.update_metadata(lambda about: _describe(about, stage, metadata))
            _check(written, stage)
    except (EdgeDepthError, MemoryError, OSError):
        raise
    except Exception as error:  # coreai-torch raises whatever Python does
        raise ExportFailedError(
            f"stage {stage.name}: {type(error).__name__}: {_first_line(error)}", remedy=_REMEDY
        ) from error


def _describe(about: Any, stage: StageSpec, metadata: PackageMetadata) -> None:
    about.author, about.license = metadata.author, metadata.licence
    about.model_description = describe_stage(stage, metadata)
    about.creation_date = None  # the same bytes each time
    for name, value in metadata.user_defined.items():
        if name not in _CORE_MLS:
            about.set_custom(name, value)


def _check(asset: Any, stage: StageSpec) -> None:
    """Compare the names that the asset declares with those that were asked for."""
    summary = asset.summary(include_statistics=False)
    for what, specs, found in (
        ("inputs", stage.inputs, summary.function_inputs("main")),
        ("outputs", stage.outputs, summary.function_outputs("main")),
    ):
        names = [name for name, _ in found]
        if names != [spec.name for spec in specs]:
            raise ExportFailedError(
                f"stage {stage.name}: coreai-torch wrote the {what} {names}; {[spec.name for spec in specs]} were "
                "asked for",
                remedy=_REMEDY,
            )


def _coreai_torch() -> Any:
    with _quietly():
        return require("coreai_torch", extra="export,coreai", purpose=_PURPOSE)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep notes of untested versions from our users: what matters is checked in the asset, and by verify."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
