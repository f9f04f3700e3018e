"""Core ML packages some of whose layers are INT8: their weights alone, or what goes into them too.

A stage is converted once and its weights are rounded as often as need be; inputs of 8 bits take a conversion each time.
"""

from __future__ import annotations

import hashlib
import importlib
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgedepth.core.errors import EdgeDepthError, ExportFailedError
from edgedepth.core.optional import require
from edgedepth.core.spec import StageSpec
from edgedepth.exporters.coreml_metadata import PackageMetadata
from edgedepth.exporters.coreml_options import CoreMlOptions
from edgedepth.exporters.to_coreml_package import check_package, finish_package
from edgedepth.exporters.to_coreml_stage import check_toolchain, export_stage, quietly
from edgedepth.models.sharing import sharing_copy
from edgedepth.models.vit_ane import ane_copy

__all__ = ["check_toolchain", "export_with_operations", "round_weights", "with_int8_inputs"]

_REMEDY = "report it with this line and the versions that 'edgedepth doctor' lists"
_BLOCK = re.compile(r".*\bblocks\.\d+\.")  # of a transformer: the Neural Engine's form has other layers inside of it
_WEIGHED = ("conv", "conv_transpose", "linear", "matmul")


def export_with_operations(
    module: nn.Module,
    stage: StageSpec,
    package: Path,
    *,
    layers: Sequence[str],
    options: CoreMlOptions,
    metadata: PackageMetadata,
) -> dict[str, list[str]]:
    """Export a stage at fp16, and tell which operations hold the weights of which layer.

    Args:
        module, stage, package, options, metadata: as export_stage.
        layers: names of torch's layers in the module, "vit.blocks.0.attn.qkv".

    Returns:
        The operations' names by layer. In the Neural Engine's form a transformer's block has other layers than torch's:
        those that torch doesn't have are under the block's first.

    Raises:
        ExportFailedError: a layer's weights are in no operation; and as export_stage.
    """
    operations: dict[str, list[str]] = {layer: [] for layer in layers}

    def look(model: Any) -> Any:
        owners = _owners(ane_copy(module) if options.compute_layout == "ane" else module, layers)
        for operation in _operations(model._mil_program):
            weight = getattr(_weight(operation), "val", None)
            if weight is not None and (layer := owners.get(_fingerprint(weight))) is not None:
                operations[layer].append(operation.name)
        return model

    export_stage(module, stage, package, precision="fp16", options=options, metadata=metadata, rework=look)
    blocks = {_group(layer) for layer, names in operations.items() if names}
    if missing := [layer for layer in layers if _group(layer) not in blocks]:
        raise ExportFailedError(
            f"stage {stage.name}: coremltools wrote no operation with the weights of {missing[0]}", remedy=_REMEDY
        )
    return operations


def with_int8_inputs(module: nn.Module, scales: Mapping[str, float]) -> nn.Module:
    """A copy of a stage some of whose linear layers see their inputs in int8; weights are shared, and names stay.

    Args:
        module: a stage.
        scales: the value of one step of 255, symmetric, by the layer's name.
    """
    copied = sharing_copy(module)
    for name, scale in scales.items():
        parent, _, child = name.rpartition(".")
        layer = copied.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        setattr(copied.get_submodule(parent), child, _Int8Linear(layer, scale))
    return copied


class _Int8Linear(nn.Linear):
    """A linear layer whose input goes through int8: coremltools makes quantize and dequantize of that."""

    def __init__(self, layer: nn.Linear, scale: float) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        self.weight, self.bias, self.scale = layer.weight, layer.bias, scale
        importlib.import_module("torch.ao.quantization.fx._decomposed")  # declares the two operators

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002  (torch's name)
        operators = torch.ops.quantized_decomposed
        limits = (self.scale, 0, -128, 127, torch.int8)
        return super().forward(operators.dequantize_per_tensor(operators.quantize_per_tensor(input, *limits), *limits))


def round_weights(
    source: Path,
    package: Path,
    stage: StageSpec,
    *,
    operations: Collection[str],
    options: CoreMlOptions,
    metadata: PackageMetadata,
) -> None:
    """Write a package in which the weights of some operations are int8, symmetric, with a scale a channel.

    Args:
        source: what export_with_operations wrote.
        package: a folder that isn't there yet, in one that is.
        stage: what it shall declare.
        operations: their names; none: a copy.
        options, metadata: as export_stage.

    Raises:
        ExportFailedError: coremltools gave up, or rounded something else than was asked for.
        OSError: the disk.
    """
    if not operations:
        shutil.copytree(source, package)
        return
    ct = require("coremltools", extra="export,coreml", purpose="to export to Core ML")
    coreml = require("coremltools.optimize.coreml", extra="export,coreml", purpose="to export to Core ML")
    weights = coreml.OpLinearQuantizerConfig(mode="linear_symmetric", granularity="per_channel")
    config = coreml.OptimizationConfig(op_name_configs=dict.fromkeys(operations, weights))
    try:
        with tempfile.TemporaryDirectory(dir=package.parent, prefix="coreml-") as folder, quietly(folder):
            model = coreml.linear_quantize_weights(ct.models.MLModel(str(source), skip_model_load=True), config)
            rounded = {op.name for op in _operations(model._mil_program) if _is_compressed(op)}
            model.save(str(package))
            del model
        if rounded != set(operations):
            raise ExportFailedError(
                f"stage {stage.name}: int8 was asked for in {sorted(operations)} and is in {sorted(rounded)}",
                remedy=_REMEDY,
            )
        finish_package(package, [stage], metadata)
        check_package(package, [stage], options)
    except (EdgeDepthError, MemoryError, OSError):
        raise
    except Exception as error:  # coremltools raises whatever Python does
        raise ExportFailedError(f"stage {stage.name}: {type(error).__name__}: {error}", remedy=_REMEDY) from error


def _owners(module: nn.Module, layers: Sequence[str]) -> dict[str, str]:
    """The layer that each weight belongs to, by the weight's fingerprint."""
    first: dict[str, str] = {}
    for layer in layers:
        first.setdefault(_group(layer), layer)
    owners = {}
    for name, parameter in module.named_parameters():
        layer = name.removesuffix(".weight")
        owner = layer if layer in layers else first.get(_group(layer))
        if name.endswith(".weight") and parameter.ndim > 1 and owner is not None:
            owners[_fingerprint(parameter.detach().numpy())] = owner
    return owners


def _group(layer: str) -> str:
    """The block of a transformer that a layer is in, or itself."""
    match = _BLOCK.match(f"{layer}.")
    return match[0] if match else layer


def _operations(program: Any) -> Iterator[Any]:
    """Those that may have weights."""
    for function in program.functions.values():
        for kind in _WEIGHED:
            yield from function.find_ops(op_type=kind)


def _weight(operation: Any) -> Any:
    """The variable that is its weight, if it is a weight."""
    return operation.inputs.get("y" if operation.op_type == "matmul" else "weight")


def _is_compressed(operation: Any) -> bool:
    weight = _weight(operation)
    return weight is not None and weight.op is not None and weight.op.op_type.startswith("constexpr")


def _fingerprint(weight: Any) -> str:
    """Of the values as they are at fp16: (out, in) and (out, in, 1, 1) have the same."""
    return hashlib.blake2b(np.ascontiguousarray(weight, np.float16).tobytes(), digest_size=16).hexdigest()
