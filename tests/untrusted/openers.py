"""What reads each kind of file, as edgedepth's commands do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgedepth.core.bundle import open_bundle
from edgedepth.core.ir_header import check_ir
from edgedepth.core.onnx_header import check_onnx
from edgedepth.core.pack import open_pack
from edgedepth.core.runs import read_run
from edgedepth.core.signing import check_signature
from edgedepth.labelling.frames import FrameReader, list_frames
from edgedepth.models.checkpoint_files import open_checkpoint
from edgedepth.models.rsa_head import load_head
from edgedepth.photos import read_photo
from edgedepth.verify.mil import load_package
from edgedepth.verify.selftest import golden_frame

__all__ = ["OPENERS"]


def _checkpoint(path: Path) -> None:
    file = open_checkpoint(path)
    for name in file.shapes:
        file.read(name)


def _signature(path: Path) -> None:
    check_signature(path.parent, b"manifest", "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3")


def _labelled(path: Path) -> None:
    """Every frame that edgedepth label would read; the first that fails is told."""
    reader = FrameReader()
    for ref in list_frames([str(path)]):
        reader.read(ref)


OPENERS: dict[str, Callable[[Path], object]] = {
    "bundle": open_bundle,
    "pack": open_pack,
    "graph": check_onnx,
    "ir": check_ir,
    "parquet": lambda path: _labelled(path.rename(path.with_name("it.parquet"))),
    "tar": lambda path: _labelled(path.rename(path.with_name("it.tar"))),
    "video": lambda path: _labelled(path.rename(path.with_name("it.mp4"))),
    "golden": golden_frame,
    "checkpoint": _checkpoint,
    "head": load_head,
    "picture": read_photo,
    "package": load_package,
    "run": read_run,
    "signature": _signature,
}
"""By kind: takes the file, or the folder of a bundle or a package."""
