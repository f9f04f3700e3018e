"""One fp32 ONNX stage to an INT8 IR, by NNCF: OpenVINO's own quantizer, told what may be quantised and on what."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgedepth.core.errors import ExportFailedError
from edgedepth.core.optional import require
from edgedepth.core.spec import StageSpec
from edgedepth.exporters.to_openvino_stage import name_by_position, onnx_to_ir

__all__ = ["MAX_CALLS", "NODES", "int8_ir"]

MAX_CALLS = 64
"""Runs of a stage that NNCF looks at, spread over those that were recorded; its own default is 300."""

NODES = "int8_nodes"
"""The entry of an IR's rt_info, under "edgedepth", that has the ONNX names of its quantised operators, by their own."""

_REMEDY = "report it with this line and the versions that 'edgedepth doctor' lists"
_PLAIN = ("Parameter", "Constant", "Result", "Convert", "ShapeOf")  # nothing to quantise, and NNCF knows


def int8_ir(
    source: Path,
    path: Path,
    stage: StageSpec,
    *,
    nodes: Collection[str],
    calls: Sequence[Path],
    weights_only: bool,
    fp32_weights: frozenset[str],
    about: Mapping[str, str],
) -> None:
    """Write a stage whose given operators are INT8. The other weights stay fp32: OpenVINO doesn't compress them to fp16
    in a graph that has quantised operators; it computes them in bf16 all the same where the processor has it.

    Args:
        source: the fp32 .onnx.
        path: of the .xml; its folder is there.
        stage: what the IR shall declare.
        nodes: names of the ONNX nodes that become INT8; none: a plain conversion.
        calls: .npz files of recorded inputs, by name.
        weights_only: INT8 weights, arithmetic as before.
        fp32_weights: as onnx_to_ir.
        about: for rt_info.

    Raises:
        ExportFailedError: OpenVINO or NNCF gave up, or a node isn't in what OpenVINO reads.
        UnsupportedError: a weight is beyond fp16's range.
        OSError, OutputError: the disk.
    """
    rework: Callable[[Any], Any] | None = None
    if nodes and weights_only:
        rework = lambda model: _compress(model, stage.name, nodes)  # noqa: E731
    elif nodes:
        rework = lambda model: _quantise(model, stage, nodes, calls)  # noqa: E731
    # As for bf16: the convolutions that stay precise are marked, and a stage without INT8 has its weights in fp16.
    onnx_to_ir(source, path, stage, precision="bf16", about=about, fp32_weights=fp32_weights, rework=rework)


def _quantise(model: Any, stage: StageSpec, nodes: Collection[str], calls: Sequence[Path]) -> Any:
    nncf = require("nncf", extra="int8", purpose="to quantise for OpenVINO")
    order = [spec.name for spec in stage.inputs]

    def feeds(path: Path) -> dict[str, Any]:
        with np.load(path) as archive:
            return {name: archive[name] for name in order}

    chosen = [calls[index] for index in np.linspace(0, len(calls) - 1, min(len(calls), MAX_CALLS)).round().astype(int)]
    parameters = nncf.AdvancedQuantizationParameters(
        # The mini's encoders came out the same with it and without; it takes half of the time, and gigabytes.
        disable_bias_correction=True,
        # Smoothing is ours (calibration/smooth.py), in the graph that comes in: the same for every mixture and target.
        smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(convolution=-1, matmul=-1),
    )
    with _quiet():
        quantised = nncf.quantize(
            model,
            nncf.Dataset(chosen, feeds),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.PERFORMANCE,  # symmetric activations, as in the ONNX bundle
            subset_size=len(chosen),
            ignored_scope=_all_but(model, stage.name, nodes),
            advanced_parameters=parameters,
        )
    _keep_names(quantised, nodes)
    return quantised


def _keep_names(model: Any, nodes: Collection[str]) -> None:
    """Write down what the quantised operators were called in the ONNX graph: the IR has names of its own."""
    before = [(op, op.get_friendly_name()) for op in model.get_ops() if op.get_friendly_name() in nodes]
    name_by_position(model)
    model.set_rt_info(json.dumps({op.get_friendly_name(): name for op, name in before}), ["edgedepth", NODES])


def _compress(model: Any, stage: str, nodes: Collection[str]) -> Any:
    nncf = require("nncf", extra="int8", purpose="to quantise for OpenVINO")
    with _quiet():
        return nncf.compress_weights(
            model, mode=nncf.CompressWeightsMode.INT8_SYM, ignored_scope=_all_but(model, stage, nodes)
        )


def _all_but(model: Any, stage: str, nodes: Collection[str]) -> Any:
    """NNCF is told what to leave alone: everything that wasn't asked for, the products inside attention among it."""
    nncf = require("nncf", extra="int8", purpose="to quantise for OpenVINO")
    names = {op.get_friendly_name() for op in model.get_ops() if op.get_type_name() not in _PLAIN}
    if missing := sorted(set(nodes) - names):
        raise ExportFailedError(f"stage {stage}: OpenVINO read no operator {missing[0]}", remedy=_REMEDY)
    return nncf.IgnoredScope(names=sorted(names - set(nodes)), validate=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """NNCF tells of its progress through a logger of its own, and by bars that take the terminal."""
    logger = logging.getLogger("nncf")
    disabled = logger.disabled
    logger.disabled = True
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.disabled = disabled
