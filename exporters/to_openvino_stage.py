"""One torch module to one IR (.xml, and .bin beside it), and the proof that it is what was asked for."""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgedepth.core.errors import EdgeDepthError, ExportFailedError, OutputError, UnsupportedError
from edgedepth.core.optional import require
from edgedepth.core.spec import Precision, StageSpec, TensorSpec
from edgedepth.exporters.base import DEFAULT_OPSET

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check_artefact", "export_stage", "fp32_weights_of", "name_by_position", "onnx_to_ir"]

_REMEDY = "report it with this line and the versions that 'edgedepth doctor' lists"
_FP16_MAX = 65504.0
_NUMPY_DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64", "i32": "int32"}
# How IR marks an operator that is computed in float32 whatever the inference precision.
_PRECISE = '\n\t\t\t<rt_info>\n\t\t\t\t<attribute name="precise" version="0" />\n\t\t\t</rt_info>'


def export_stage(
    module: nn.Module, stage: StageSpec, path: Path, *, precision: Precision, about: Mapping[str, str]
) -> None:
    """Export a stage and check the files.

    Args:
        module: takes the stage's inputs by position and returns a tuple of its outputs; it is not changed.
        stage: what the IR shall declare. A dimension with a name may vary.
        path: of the .xml; its folder is there, and the .bin goes beside it.
        precision: "fp32" keeps the weights as they are, "fp16" and "bf16" store them in fp16.
        about: written into the IR's rt_info, under "edgedepth".

    Raises:
        ExportFailedError: a toolchain gave up, or wrote something else than was asked for.
        UnsupportedError: a weight is beyond fp16's range.
        OSError, OutputError: the disk.
    """
    from edgedepth.exporters.to_onnx_stage import export_stage as export_onnx_stage

    # Beside the artefact and not in the system's temporary folder, which may be small: gigabytes pass through.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="onnx-") as folder:
        source = Path(folder) / f"{stage.name}.onnx"
        export_onnx_stage(module, stage, source, precision="fp32", opset=DEFAULT_OPSET)
        onnx_to_ir(source, path, stage, precision=precision, about=about, fp32_weights=fp32_weights_of(module))


def onnx_to_ir(
    source: Path,
    path: Path,
    stage: StageSpec,
    *,
    precision: Precision,
    about: Mapping[str, str],
    fp32_weights: frozenset[str],
    rework: Callable[[Any], Any] | None = None,
) -> None:
    """Convert one ONNX file of float32; arguments and errors as export_stage.

    Args:
        source: the .onnx file.
        path: of the .xml.
        stage: what the IR shall declare.
        precision: of the bundle.
        about: for rt_info.
        fp32_weights: names of the weights whose convolutions are computed in float32 at every precision.
        rework: turns OpenVINO's model into another before it is written: quantises it.
    """
    try:
        model = _convert(source, half=precision != "fp32")
        if rework is not None:
            model = rework(model)
        precise = [op for op in model.get_ordered_ops() if _weight_of(op) in fp32_weights]
        name_by_position(model)
        for key, value in {"stage": stage.name, **about}.items():
            model.set_rt_info(value, ["edgedepth", key])
        _save(model, path, half=precision != "fp32")
        if precision != "fp32":
            _mark_precise(path, [op.get_friendly_name() for op in precise])
        del model, precise  # they map the .onnx.data file, which goes away next
        check_artefact(path, stage)
    except (EdgeDepthError, MemoryError, OSError):
        raise
    except Exception as error:  # OpenVINO's exceptions are RuntimeErrors and more
        raise ExportFailedError(f"stage {stage.name}: {_gist(error)}", remedy=_REMEDY) from error


def check_artefact(path: Path, stage: StageSpec) -> None:
    """Read an IR back and compare what it declares with what was asked for.

    Raises:
        ExportFailedError: it doesn't load, or has other inputs or outputs than the stage.
    """
    try:
        model = _core().read_model(str(path))
    except RuntimeError as error:
        raise ExportFailedError(f"stage {stage.name}: {_gist(error)}", remedy=_REMEDY) from error
    for what, declared, ports in (("inputs", stage.inputs, model.inputs), ("outputs", stage.outputs, model.outputs)):
        found = [_declared(port, declared) for port in ports]
        expected = [_unnamed(spec) for spec in declared]
        if found != expected:
            raise ExportFailedError(
                f"stage {stage.name}: OpenVINO wrote the {what} {found}; {expected} were asked for", remedy=_REMEDY
            )


def _openvino() -> Any:
    return require("openvino", extra="openvino", purpose="to export to OpenVINO")


@functools.cache
def _core() -> Any:
    """The one Core of this process: making another looks for every device again."""
    return _openvino().Core()


def _convert(source: Path, *, half: bool) -> Any:
    """What openvino.convert_model does, without the telemetry session that it opens; weights checked for fp16."""
    transformations = require("openvino._offline_transformations", extra="openvino", purpose="to export to OpenVINO")
    model = _core().read_model(str(source))
    if half:
        _check_range(model)  # here the weights still have their names
    # Transposes the weights of matrix products here once, and not whenever the model is loaded.
    transformations.apply_moc_transformations(model, cf=False, smart_reshape=False)
    if half:
        _check_range(model)  # here they are what is stored: factors may have been multiplied into them
    return model


def _check_range(model: Any) -> None:
    """Refuse what the compression to fp16 would clamp without a word."""
    for op in model.get_ops():
        if op.get_type_name() != "Constant" or op.get_element_type().get_type_name() != "f32":
            continue
        values = op.data
        largest = max(-float(np.min(values)), float(np.max(values)))
        if not largest <= _FP16_MAX:  # NaN too
            raise UnsupportedError(
                f"weight {op.get_friendly_name()} reaches {largest:.3g}, beyond the range of fp16, which it is "
                "stored in",
                remedy="keep this model at fp32 (--fp32)",
            )


def fp32_weights_of(module: nn.Module) -> frozenset[str]:
    """The weights of the convolutions that stay fp32, by their names in the ONNX file.

    The last of each head, which decides metres and degrees, and the patch embeddings: in bf16 they would round the
    picture itself to 8 bits. On the trained mini at bf16, fp32 there brings the patch encoder's largest error from
    9.5e-2 to 3.8e-2 and the image encoder's mean error from 8.6e-3 to 4.4e-3, and saves two reorders in each.
    LayerNorm and the residual sums in fp32 were tried too: less error in the features, none less in the depth.
    """
    from edgedepth.models.precision import Fp32Conv2d
    from edgedepth.models.vit import PatchEmbed

    kept = [name for name, child in module.named_modules() if isinstance(child, Fp32Conv2d)]
    kept += [f"{name}.proj" for name, child in module.named_modules() if isinstance(child, PatchEmbed)]
    return frozenset(f"{name}.weight" for name in kept)


def _weight_of(op: Any) -> str | None:
    """The name of a convolution's weights; None for any other operator."""
    if op.get_type_name() != "Convolution":
        return None
    node = op.input_value(1).get_node()
    while node.get_type_name() != "Constant" and node.get_input_size():
        node = node.input_value(0).get_node()
    return str(node.get_friendly_name())


def name_by_position(model: Any) -> None:
    """OpenVINO counts nodes over the life of a process, and a file shall not tell how many there were before it."""
    for number, op in enumerate(model.get_ordered_ops()):
        if op.get_type_name() not in ("Parameter", "Result"):
            op.set_friendly_name(f"{op.get_type_name()}_{number}")


def _save(model: Any, path: Path, *, half: bool) -> None:
    try:
        _openvino().save_model(model, str(path), compress_to_fp16=half)
    except RuntimeError as error:
        raise OutputError(
            f"{path} can't be written: {_gist(error)}", remedy="free space or choose another folder with --out"
        ) from error


def _mark_precise(path: Path, names: list[str]) -> None:
    """Mark operators in the file: OpenVINO's Python API has no way to."""
    text = path.read_text(encoding="utf-8")
    for name in names:
        text, count = re.subn(rf'(<layer id="\d+" name="{name}" type="Convolution" [^>]*>)', rf"\1{_PRECISE}", text)
        if count != 1:
            raise ExportFailedError(f"{path.name} names the operator {name} {count} times", remedy=_REMEDY)
    path.write_text(text, encoding="utf-8", newline="\n")


def _declared(port: Any, specs: tuple[TensorSpec, ...]) -> tuple[str, str, tuple[int, ...]]:
    """What a port declares. A port may have several names: ours is the one that counts, if it is there."""
    names = sorted(port.get_names())
    name = next((spec.name for spec in specs if spec.name in names), ",".join(names))
    dtype = port.get_element_type().get_type_name()
    shape = tuple(-1 if size.is_dynamic else size.get_length() for size in port.get_partial_shape())
    return name, _NUMPY_DTYPES.get(dtype, dtype), shape


def _unnamed(spec: TensorSpec) -> tuple[str, str, tuple[int, ...]]:
    """A spec as _declared tells it: IR has no names for dimensions."""
    return spec.name, spec.dtype, tuple(-1 if isinstance(size, str) else size for size in spec.shape)


def _gist(error: BaseException) -> str:
    """OpenVINO's messages start with lines that name its own source files."""
    return next(_lines(str(error)), type(error).__name__)


def _lines(message: str) -> Iterator[str]:
    for line in message.splitlines():
        if (line := line.strip()) and not re.match(r"Exception from |Check '|Exception ", line):
            yield line
