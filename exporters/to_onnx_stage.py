"""One torch module to one ONNX file, and the proof that the file is what was asked for."""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import onnx
import onnx_ir.passes.common
import torch
from torch import nn

from edgedepth.core.errors import EdgeDepthError, ExportFailedError, OutputError
from edgedepth.core.spec import Precision, StageSpec, TensorSpec
from edgedepth.models.precision import half_precision_
from edgedepth.models.sharing import sharing_copy

__all__ = ["check_artefact", "export_stage"]

_REMEDY = "report it with this line and the versions that 'edgedepth doctor' lists; another --opset may work"
_CHATTY_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir")
_NO_SPACE = "No space left on device"


def export_stage(module: nn.Module, stage: StageSpec, path: Path, *, precision: Precision, opset: int) -> None:
    """Export a stage and check the file.

    Weights go into `path` + ".data" beside it: runtimes map that file instead of reading it.

    Args:
        module: takes the stage's inputs by position and returns a tuple of its outputs; it is not changed.
        stage: what the file shall declare. A dimension with a name is exported as one that may vary.
        path: of the .onnx file; its folder is there.
        precision: "fp32" or "fp16".
        opset: what the file's opset shall be.

    Raises:
        ExportFailedError: torch's exporter gave up, or wrote something else than was asked for.
        UnsupportedError: a weight is beyond fp16's range.
        OSError: the disk.
    """
    if precision == "fp16":
        module = half_precision_(sharing_copy(module))
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                tuple(_example(spec) for spec in stage.inputs),
                dynamo=True,
                opset_version=opset,
                input_names=[spec.name for spec in stage.inputs],
                output_names=[spec.name for spec in stage.outputs],
                dynamic_shapes=_dynamic_shapes(stage),
                verbose=False,
            )
            assert program is not None
            # Each node carries the Python stack that made it, with the paths of the exporting machine.
            onnx_ir.passes.common.ClearMetadataAndDocStringPass()(program.model)
            _save(program, path)
        check_artefact(path, stage, opset)
    except (EdgeDepthError, MemoryError):
        raise
    except Exception as error:
        _raise_as_ours(error, stage.name)


def _save(program: torch.onnx.ONNXProgram, path: Path) -> None:
    """Write the file. onnx_ir's writer drops the errno of what the disk said."""
    try:
        program.save(path, external_data=True)
    except OSError as error:
        raise OutputError(
            f"{path} can't be written: {error.strerror or _first_line(error)}",
            remedy="free space or choose another folder with --out",
        ) from error


def check_artefact(path: Path, stage: StageSpec, opset: int) -> None:
    """Compare a file with what was asked for, without reading its weights.

    Raises:
        ExportFailedError: it isn't valid ONNX, or declares another opset, operators outside of ONNX's own, or
            other inputs or outputs than the stage.
    """
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise ExportFailedError(f"stage {stage.name}: {_first_line(error)}", remedy=_REMEDY) from error
    model = onnx.load(str(path), load_external_data=False)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    foreign = {node.domain for node in model.graph.node} | {function.domain for function in model.functions}
    for what, expected, found in (
        ("the opset", {"": opset}, opsets),
        ("operators outside of ONNX's own", set(), foreign - {""}),
        ("the inputs", list(stage.inputs), [_declared(value, stage.inputs) for value in model.graph.input]),
        ("the outputs", list(stage.outputs), [_declared(value, stage.outputs) for value in model.graph.output]),
    ):
        if expected != found:
            raise ExportFailedError(
                f"stage {stage.name}: the exporter wrote {what} {found}; {expected} was asked for", remedy=_REMEDY
            )


def _declared(value: onnx.ValueInfoProto, specs: tuple[TensorSpec, ...]) -> TensorSpec:
    """What a graph declares for one tensor; ONNX knows no units, so those come from the spec of the same name."""
    tensor = value.type.tensor_type
    return TensorSpec(
        name=value.name,
        dtype=str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)),
        shape=tuple(size.dim_param or size.dim_value for size in tensor.shape.dim),
        unit=next((spec.unit for spec in specs if spec.name == value.name), "?"),
    )


def _example(spec: TensorSpec) -> torch.Tensor:
    # torch.export takes a dimension of size 1 for a constant, so a free one is traced with 2.
    return torch.zeros([2 if isinstance(size, str) else size for size in spec.shape], dtype=getattr(torch, spec.dtype))


def _dynamic_shapes(stage: StageSpec) -> tuple[dict[int, object], ...] | None:
    names = {size for spec in stage.inputs for size in spec.shape if isinstance(size, str)}
    if not names:
        return None
    dims = {name: torch.export.Dim(name) for name in names}
    return tuple(
        {axis: dims[size] for axis, size in enumerate(spec.shape) if isinstance(size, str)} for spec in stage.inputs
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes to its developers from our users: what matters is checked in the file."""
    levels = {name: logging.getLogger(name).level for name in _CHATTY_LOGGERS}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _raise_as_ours(error: Exception, stage: str) -> NoReturn:
    """The root of what torch's exporter wraps: a full disk stays an OSError, all else is a failed export."""
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    if isinstance(root, OSError):
        raise root
    if _NO_SPACE in str(error):
        raise OSError(errno.ENOSPC, _NO_SPACE) from error
    raise ExportFailedError(f"stage {stage}: {type(root).__name__}: {_first_line(root)}", remedy=_REMEDY) from error


def _first_line(error: BaseException) -> str:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # torch colours its messages
    return next((line.strip() for line in plain.splitlines() if line.strip()), type(error).__name__)
