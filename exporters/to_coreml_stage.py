"""One torch module to one Core ML package (.mlpackage), and the proof that it declares what was asked for."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import re
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgedepth.core.errors import EdgeDepthError, ExportFailedError, UnsupportedError
from edgedepth.core.optional import installed_version, require
from edgedepth.core.spec import Precision, StageSpec, TensorSpec
from edgedepth.exporters.coreml_metadata import PackageMetadata
from edgedepth.exporters.coreml_options import CoreMlOptions, deployment_target_named
from edgedepth.exporters.to_coreml_package import check_package, finish_package
from edgedepth.models.precision import FP32_LAYERS, Fp32Conv2d
from edgedepth.models.vit_ane import ane_copy

__all__ = ["OLDEST_COREMLTOOLS", "check_toolchain", "export_stage", "quietly"]

OLDEST_COREMLTOOLS = (9, 0)
_REMEDY = "report it with this line and the versions that 'edgedepth doctor' lists"
_IMAGE_SCALE, _IMAGE_BIAS = 2 / 255, -1.0  # 8 bits to -1..1
_FP16_MAX = 65504.0
_RGB = 3  # channels of a picture, and of nothing else in these models
_SENSITIVE = re.compile(r"_blocks_0_|^p_head_")


def check_toolchain() -> None:
    """Refuse a coremltools that is too old to be told so by what it does.

    Raises:
        MissingExtraError: it isn't installed, or doesn't import.
        UnsupportedError: it is too old.
    """
    _coremltools()
    version = installed_version("coremltools") or "0"
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST_COREMLTOOLS:
        raise UnsupportedError(
            f"coremltools {version} is installed; {'.'.join(map(str, OLDEST_COREMLTOOLS))} or newer is needed",
            remedy="pip install --upgrade 'edgedepth[export,coreml]'",
        )


def export_stage(
    module: nn.Module,
    stage: StageSpec,
    package: Path,
    *,
    precision: Precision,
    options: CoreMlOptions,
    metadata: PackageMetadata,
    rework: Callable[[Any], Any] | None = None,
) -> None:
    """Export a stage and check the package.

    Args:
        module: takes the stage's inputs by position and returns a tuple of its outputs; it is not changed.
        stage: what the package shall declare; every dimension is a number.
        package: the .mlpackage, a folder that isn't there yet, in one that is.
        precision: "fp32", "fp16", or "int8" for fp16 with weights of 8 bits.
        options: deployment target, compute layout, picture inputs.
        metadata: what Xcode shows.
        rework: what is done with the converted model before it is saved; it returns the one that is.

    Raises:
        ExportFailedError: a toolchain gave up, or wrote something else than was asked for.
        UnsupportedError: a weight is beyond fp16's range.
        OSError: the disk.
    """
    if options.compute_layout == "ane":
        module = ane_copy(module)
    if precision != "fp32":
        _check_range(module, stage.name)
    images = frozenset(spec.name for spec in stage.inputs if options.image_input and _is_picture(spec))
    try:
        # Beside the package and not in the system's temporary folder, which may be small: gigabytes pass through.
        with tempfile.TemporaryDirectory(dir=package.parent, prefix="coreml-") as folder, quietly(folder):
            model = _convert(module, stage, precision, options, images)
            if precision == "int8":
                model = _with_int8_weights(model)
            if rework is not None:
                model = rework(model)
            model.save(str(package))
            del model
        finish_package(package, [stage], metadata)
        check_package(package, [stage], options)
    except (EdgeDepthError, MemoryError, OSError):
        raise
    except Exception as error:  # coremltools raises whatever Python does
        raise ExportFailedError(
            f"stage {stage.name}: {type(error).__name__}: {_first_line(error)}", remedy=_REMEDY
        ) from error


@contextlib.contextmanager
def quietly(folder: str | None = None) -> Iterator[None]:
    """Keep coremltools' notes, warnings and bars from our users, and its temporary files in `folder`.

    Its deprecations and untested versions are our business: what matters is checked in the package.
    """
    logger = logging.getLogger("coremltools")
    level, place = logger.level, tempfile.tempdir
    logger.setLevel(logging.ERROR)
    tempfile.tempdir = folder or place
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                yield
            except Exception as error:
                traceback.clear_frames(error.__traceback__)  # they hold coremltools' temporary folders
                raise
            finally:
                gc.collect()  # coremltools leaves its temporary folders to the collector, which warns of them
    finally:
        logger.setLevel(level)
        tempfile.tempdir = place


def _coremltools() -> Any:
    with quietly():
        return require("coremltools", extra="export,coreml", purpose="to export to Core ML")


def _is_picture(spec: TensorSpec) -> bool:
    return spec.name in ("image", "tiles") and spec.shape[0] == 1


def _check_range(module: nn.Module, stage: str) -> None:
    """Refuse what the conversion to fp16 would turn into infinity without a word."""
    for name, weight in module.named_parameters():
        lowest, highest = torch.aminmax(weight.detach())
        largest = max(-float(lowest), float(highest))
        if not largest <= _FP16_MAX:  # NaN too
            raise UnsupportedError(
                f"stage {stage}: weight {name} reaches {largest:.3g}, beyond the range of fp16",
                remedy="keep this model at fp32 (--fp32)",
            )


def _convert(
    module: nn.Module, stage: StageSpec, precision: Precision, options: CoreMlOptions, images: frozenset[str]
) -> Any:
    """The stage as an mlprogram. Dtypes of inputs and outputs are named: else fp16 arithmetic changes them too."""
    ct = _coremltools()
    system = deployment_target_named(options.deployment_target)
    if not hasattr(ct.target, system):
        raise UnsupportedError(
            f"coremltools {ct.__version__} doesn't know the deployment target {system}",
            remedy="pip install --upgrade coremltools, or choose an older --deployment-target",
        )

    def input_type(spec: TensorSpec) -> Any:
        if spec.name in images:
            return ct.ImageType(
                name=spec.name,
                shape=spec.shape,
                scale=_IMAGE_SCALE,
                bias=[_IMAGE_BIAS] * 3,
                color_layout=ct.colorlayout.RGB,
            )
        return ct.TensorType(name=spec.name, shape=spec.shape, dtype=getattr(np, spec.dtype))

    example = tuple(
        torch.zeros([int(size) for size in spec.shape], dtype=getattr(torch, spec.dtype)) for spec in stage.inputs
    )
    with torch.no_grad():
        program = torch.export.export(module.eval(), example).run_decompositions({})
    return ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=getattr(ct.target, system),
        compute_precision=_compute_precision(ct, module, precision, options),
        inputs=[input_type(spec) for spec in stage.inputs],
        outputs=[ct.TensorType(name=spec.name, dtype=np.float32) for spec in stage.outputs],
        pass_pipeline=_passes(ct),
        skip_model_load=True,
    )


def _passes(ct: Any) -> Any:
    """The default ones, but for the fusion of a product and a sum into batch_norm: its epsilon of 1e-5 changes both."""
    pipeline = ct.PassPipeline()
    pipeline.remove_passes({"common::fuse_elementwise_to_batchnorm"})
    return pipeline


def _compute_precision(ct: Any, module: nn.Module, precision: Precision, options: CoreMlOptions) -> Any:
    if precision == "fp32" or _stays_float32(module):
        return ct.precision.FLOAT32
    if options.compute_layout == "ane":
        return ct.precision.FLOAT16  # the Neural Engine has nothing else
    return ct.transform.FP16ComputePrecision(op_selector=_halved(module))


def _stays_float32(module: nn.Module) -> bool:
    """Whether no weight is one that fp16 is for: RSA's head, whose exponentials are scale and shift."""
    kept = (
        parameter for layer in module.modules() if isinstance(layer, FP32_LAYERS) for parameter in layer.parameters()
    )
    return {id(parameter) for parameter in module.parameters()} <= {id(parameter) for parameter in kept}


def _halved(module: nn.Module) -> Callable[[Any], bool]:
    """Which operations become fp16: all but LayerNorm, softmax, a model's last convolutions and what is made of theirs.

    So it is in torch, where those convolutions return float32: ZoeDepth's exponentials and logarithms follow them.
    """
    kept = [layer.weight.detach().numpy() for layer in module.modules() if isinstance(layer, Fp32Conv2d)]
    wide: set[Any] = set()  # operations behind those convolutions; they are asked for in the program's order

    def is_kept(operation: Any) -> bool:
        weight = operation.weight.val if operation.op_type == "conv" else None
        return weight is not None and any(weight.shape == one.shape and np.array_equal(weight, one) for one in kept)

    def selector(operation: Any) -> bool:
        if is_kept(operation) or not wide.isdisjoint(_makers(operation)):
            wide.add(operation)
            return False
        return operation.op_type not in ("layer_norm", "softmax")

    return selector


def _makers(operation: Any) -> Iterator[Any]:
    """The operations that an operation's inputs come from, past casts."""
    for value in operation.inputs.values():
        for one in value if isinstance(value, (list, tuple)) else (value,):
            maker = one.op
            while maker is not None and maker.op_type == "cast":
                maker = maker.x.op
            yield maker


def _with_int8_weights(model: Any) -> Any:
    """Weights of matrix products and convolutions as int8, with a scale a channel; small ones stay as they are.

    So do those whose errors everything behind them amplifies: the convolutions that see the picture, each transformer's
    first block, and the depth head, whose inverse is metres. They are 5 % of Depth Pro's weights. AbsRel of the trained
    mini, weights alone rounded, on an astronaut before a flat wall, a cat, a cup, a motorcycle and a rocket, in 1e-3:
    13, 2.8, 1.1, 1.7, 2.8 with the picture's convolutions spared; 12, 2.6, 0.8, 1.3, 2.8 with the head as well;
    5.7, 1.9, 0.5, 1.6, 0.9 with the first blocks too.
    Instead of the first block, the second gains 9.5 on the astronaut, and the last one 11.5.
    """
    coreml = require("coremltools.optimize.coreml", extra="export,coreml", purpose="to export to Core ML")
    weights = coreml.OpLinearQuantizerConfig(mode="linear_symmetric", granularity="per_channel")
    layers = ("conv", "conv_transpose", "linear")
    function = model._mil_program.functions["main"]
    weighted = [one for layer in layers for one in function.find_ops(op_type=layer)]
    config = coreml.OptimizationConfig(
        op_type_configs=dict.fromkeys((*layers, "matmul"), weights),
        op_name_configs={one.name: None for one in weighted if _is_sensitive(one.weight)},
    )
    return coreml.linear_quantize_weights(model, config)


def _is_sensitive(weight: Any) -> bool:
    """Whether a weight stays as it is. torch.export names it by its place: p_vit_blocks_0_attn_qkv_weight."""
    return bool(_SENSITIVE.search(weight.name)) or (len(weight.shape) == 4 and weight.shape[1] == _RGB)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
