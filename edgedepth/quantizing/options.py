"""What is asked of INT8."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgedepth.calibration.budget import Budget
from edgedepth.calibration.ranges import METHODS, Method
from edgedepth.calibration.smooth import check_alpha
from edgedepth.core.errors import OptionError, UnsupportedError
from edgedepth.core.targets import PRECISIONS
from edgedepth.exporters.base import ExportOptions, exporter_for
from edgedepth.exporters.coreml_options import deployment_target_named

__all__ = ["HELD_BACK", "TARGETS", "Int8Options", "check_export_options"]

HELD_BACK = 0.25
"""Share of a calibration set that measures and doesn't calibrate."""

TARGETS = ("onnx", "openvino", "tensorrt", "coreml")
"""What INT8 is built for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Options:
    """How a bundle is quantised. An option that can't be had is refused, never changed.

    Args:
        calib: the calibration set's folder.
        budget: what may be lost; None: measured, and whatever it is, it is.
        method: how an activation's range is found, with targets onnx and tensorrt: "minmax", "mean", "entropy" or
            "percentile".
        smooth: SmoothQuant's alpha, 0 to 1: outliers move from activations into weights; None: they stay.
        decoder: quantise the convolutions of the decoder and of the heads too, not only the linear layers.
        weights_only: weights in INT8 and arithmetic as before, with target openvino: smaller, not faster. With target
            coreml it is so unless `activations` is set.
        activations: what goes into the linear layers in INT8 too, with target coreml.

    Raises:
        OptionError: an unknown method, or an alpha that is no share.
    """

    calib: Path
    budget: Budget | None = None
    method: Method = "minmax"
    smooth: float | None = None
    decoder: bool = False
    weights_only: bool = False
    activations: bool = False

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if self.method not in METHODS:
            raise OptionError(
                f"there is no calibration method {self.method!r}; allowed are {', '.join(METHODS)}",
                remedy="--int8-method minmax",
            )
        if self.smooth is not None:
            check_alpha(self.smooth)

    def check(self, target: str) -> None:
        """Refuse what this target can't do.

        Raises:
            UnsupportedError: INT8 isn't built for it, or not with these options.
        """
        if target not in TARGETS:
            raise UnsupportedError(
                f"there is no INT8 for {target!r}; there is for {', '.join(TARGETS)}", remedy="use --target onnx"
            )
        if self.weights_only and target not in ("openvino", "coreml"):
            raise UnsupportedError(
                f"weights alone in INT8 are for targets openvino and coreml; {target} was asked for",
                remedy="use --target openvino, or leave --int8-weights-only out",
            )
        if self.activations and target != "coreml":
            raise UnsupportedError(
                f"INT8 activations are an option of target coreml; {target} has them anyway",
                remedy="leave --int8-activations out; --int8-weights-only is for weights alone",
            )
        if self.activations and (self.weights_only or self.decoder):
            raise UnsupportedError(
                "INT8 activations for Core ML are those of the encoders' linear layers, weights and inputs",
                remedy=f"leave {'--int8-weights-only' if self.weights_only else '--int8-decoder'} out",
            )
        if self.method != "minmax" and target in ("openvino", "coreml"):
            why = (
                "NNCF, which quantises for OpenVINO, chooses its own"
                if target == "openvino"
                else "Core ML takes minmax"
            )
            raise UnsupportedError(
                f"method {self.method} is for targets onnx and tensorrt: {why}", remedy="leave --int8-method out"
            )
        if self.smooth is not None and (self.weights_only or target == "coreml"):
            why = "it is not built for Core ML" if target == "coreml" else "weights alone were asked for"
            raise UnsupportedError(
                f"smoothing makes room for INT8 activations, and {why}",
                remedy="leave --smooth out" if target == "coreml" else "leave --smooth or --int8-weights-only out",
            )

    def milder(self, target: str) -> str:
        """What would cost less, in words for a remedy."""
        if self.activations:
            return "leave --int8-activations out"
        if self.decoder:
            return "leave --int8-decoder out"
        if self.weights_only or target == "coreml":
            return "--fp16"
        if self.smooth is None:
            return "--smooth 0.5"
        return "--int8-weights-only" if target == "openvino" else "--int8-method mean"


def check_export_options(options: ExportOptions, target: str, *, activations: bool = False) -> None:
    """Refuse the options of an export that INT8 has no answer to.

    Raises:
        UnsupportedError: one graph in all, a batch that is left open, a decoder in windows, one package of all stages,
            or what is another target's.
    """
    plain = PRECISIONS[target][0]  # options are looked at by the target's own exporter, which has no INT8 on a set
    support = exporter_for(target).check(replace(options, precision=plain, layout="staged", dynamic_batch=False))
    if not support.ok:
        raise UnsupportedError(support.reason, remedy=support.remedy)
    if options.layout != "staged":
        raise UnsupportedError(
            f"INT8 with layout {options.layout} is not built: blocks are measured stage by stage",
            remedy="leave --layout out",
        )
    if options.dynamic_batch:
        raise UnsupportedError(
            "INT8 with a dynamic batch is not built: what was measured at one batch says nothing of another",
            remedy="leave --dynamic-batch out, and choose --tile-batch",
        )
    if options.decoder_windows:
        raise UnsupportedError(
            "INT8 with a decoder in windows is not built: it would be a second decoder to calibrate",
            remedy="leave --decoder-windows out",
        )
    if options.coreml.multifunction:
        raise UnsupportedError(
            "INT8 on a calibration set is not built for one package of all stages: stages are measured one by one",
            remedy="leave --multifunction out",
        )
    if activations and options.coreml.compute_layout == "ane":
        raise UnsupportedError(
            "INT8 activations are not built for the Neural Engine's layout: its layers are others than the calibrated",
            remedy="leave --int8-activations or --compute-layout ane out",
        )
    if activations and deployment_target_named(options.coreml.deployment_target) == "iOS16":
        raise UnsupportedError(
            "iOS16 has no INT8 activations; iOS17 was the first", remedy="use --deployment-target iOS17, the default"
        )
