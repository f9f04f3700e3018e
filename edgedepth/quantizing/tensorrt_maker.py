"""INT8 for TensorRT: the graphs of the ONNX bundle, looked at with TensorRT's eyes."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from edgedepth.exporters.trt_engines import refuse_findings
from edgedepth.quantizing.makers import OnnxMaker

__all__ = ["TensorRtMaker"]


class TensorRtMaker(OnnxMaker):
    """See Maker. Mixtures run on ONNX Runtime, which computes the same graphs: engines run on their device only."""

    stand_in: str | None = "ONNX Runtime, which computes the same graphs"

    def make(self, stage: str, kept: Collection[str], out: Path) -> Path:
        """See Maker.

        Raises:
            ExportFailedError: the graph holds what TensorRT refuses.
        """
        path = super().make(stage, kept, out)
        refuse_findings(path)
        return path
