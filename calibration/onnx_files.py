"""ONNX files with their weights beside them, as every exporter of this project writes them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from edgedepth.core.optional import require

__all__ = ["copy_model", "save_model"]

_INLINE = 1024  # bytes up to which a constant stays in the graph, as torch's exporter does


def save_model(model: Any, path: Path) -> None:
    """Write a model, its weights into `path` + ".data". The model loses them in memory.

    Args:
        model: an onnx.ModelProto, whole.
        path: of the .onnx; its folder is there.
    """
    onnx = require("onnx", extra="int8", purpose="to quantise")
    data = path.with_name(f"{path.name}.data")
    data.unlink(missing_ok=True)  # onnx appends to what is there
    onnx.save(
        model,
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=data.name,
        size_threshold=_INLINE,
    )


def copy_model(source: Path, out: Path) -> None:
    """Copy a model's files. No links: onnx refuses weights with several names.

    Args:
        source: the .onnx; its .data beside it.
        out: the other .onnx of the same file name, in a folder that is there.
    """
    for name in (source.name, f"{source.name}.data"):
        if (path := source.with_name(name)).is_file():
            shutil.copyfile(path, out.with_name(name))
