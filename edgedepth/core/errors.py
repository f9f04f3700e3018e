"""Every error that edgedepth raises on purpose.

The tree::

    EdgeDepthError                 what was wrong, what was got, what is allowed; and the remedy
    ├── UserError                  the caller can cure it: exit code 2
    │   ├── FrameError             the picture handed to infer() is not one
    │   ├── PhotoError             a picture file that can't be read whole
    │   ├── DataSetError           a folder that is not a data set that can be read
    │   │   └── SampleError        one sample of a data set that no figure can be taken of
    │   ├── OptionError            an unknown name, or options that don't go together
    │   ├── IntrinsicsError        a camera's description that can't be read, or isn't of this frame
    │   ├── UnsupportedError       a combination that is understood and can't be done here
    │   │   └── UnsupportedOpError     a Core ML operation that the off-device evaluator doesn't know
    │   ├── PackageError           an .mlpackage that is damaged, too new or not an ML program
    │   ├── MissingExtraError      an optional package is not installed
    │   ├── WeightsError           a checkpoint that can't be found, fetched, read or loaded
    │   │   ├── WeightsMismatchError   tensors missing, unexpected or of another shape
    │   │   └── DownloadError      the network, or what came over it
    │   ├── DeviceError            a device or provider that was asked for and isn't there
    │   │   └── DeviceMemoryError  the device's memory is too small for what was asked of it
    │   ├── RunError               measurements that can't be read, or can't be compared
    │   ├── TrainingError          a training run that can't start or go on
    │   ├── CalibrationError       frames that can't calibrate, or a calibration set that doesn't fit
    │   ├── OutputError            a path that can't be written, a disk that is full
    │   └── BundleError            a folder that is not a bundle this version can use
    │       ├── BundleNotFoundError    nothing there
    │       ├── BundleSchemaError      a manifest that is not understood, or is newer
    │       ├── BundleTamperedError    a file whose content is not what the manifest says
    │       ├── BundlePathError        a file name that leads out of the bundle
    │       ├── SignatureError         a bundle that the trusted key didn't sign
    │       ├── EngineError            a TensorRT engine that is missing, foreign, stale or damaged
    │       └── BundleBusyError        another process is writing this folder
    └── CheckFailedError           a proof was asked for and came out negative: exit code 1
        ├── SelfTestError          a bundle's golden output isn't reproduced on this device
        ├── ExportFailedError      the exporter or its toolchain gave up
        ├── QuantizationError      INT8 can't be had: activations that aren't finite, or a budget that nothing meets
        ├── StageError             a stage returned other names, shapes, dtypes or values than declared
        ├── BackendTimeoutError    a backend that didn't come back within the time it was given
        └── UnusableOutputError    the model's own output can't be metres (NaN, a focal length of nothing)
"""

from __future__ import annotations

__all__ = [
    "BackendTimeoutError",
    "BundleBusyError",
    "BundleError",
    "BundleNotFoundError",
    "BundlePathError",
    "BundleSchemaError",
    "BundleTamperedError",
    "CalibrationError",
    "CheckFailedError",
    "DataSetError",
    "DeviceError",
    "DeviceMemoryError",
    "DownloadError",
    "EdgeDepthError",
    "EngineError",
    "ExportFailedError",
    "FrameError",
    "IntrinsicsError",
    "MissingExtraError",
    "OptionError",
    "OutputError",
    "PackageError",
    "PhotoError",
    "QuantizationError",
    "RunError",
    "SampleError",
    "SelfTestError",
    "SignatureError",
    "StageError",
    "TrainingError",
    "UnsupportedError",
    "UnsupportedOpError",
    "UnusableOutputError",
    "UserError",
    "WeightsError",
    "WeightsMismatchError",
]


class EdgeDepthError(Exception):
    """The base of all of them.

    Args:
        problem: one sentence: what was wrong, what was got, what is allowed.
        remedy: the command or option that cures it. There is always one to give, so it is mandatory.
    """

    exit_code = 1

    def __init__(self, problem: str, *, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem} | {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by fields, so that an error crosses a process pool whole."""
        return (_rebuild, (type(self), self.problem, self.remedy))


def _rebuild(cls: type[EdgeDepthError], problem: str, remedy: str) -> EdgeDepthError:
    return cls(problem, remedy=remedy)


class UserError(EdgeDepthError):
    """The caller can cure it."""

    exit_code = 2


class FrameError(UserError):
    """The picture handed to infer() is not one."""


class PhotoError(UserError):
    """A picture file that can't be read whole."""


class DataSetError(UserError):
    """A folder that is not a data set that can be read."""


class SampleError(DataSetError):
    """One sample of a data set that no figure can be taken of: the rest of the set still counts."""


class OptionError(UserError):
    """An unknown name, or options that don't go together."""


class IntrinsicsError(UserError):
    """A camera's description that can't be read, or isn't of this frame."""


class UnsupportedError(UserError):
    """A combination that is understood and can't be done here."""


class UnsupportedOpError(UnsupportedError):
    """A Core ML operation that the off-device evaluator doesn't know."""


class PackageError(UserError):
    """An .mlpackage that is damaged, too new or not an ML program."""


class MissingExtraError(UserError):
    """An optional package is not installed."""


class WeightsError(UserError):
    """A checkpoint that can't be found, fetched, read or loaded."""


class WeightsMismatchError(WeightsError):
    """Tensors missing, unexpected or of another shape."""


class DownloadError(WeightsError):
    """The network, or what came over it."""


class DeviceError(UserError):
    """A device or provider that was asked for and isn't there."""


class DeviceMemoryError(DeviceError):
    """The device's memory is too small for what was asked of it."""


class RunError(UserError):
    """Measurements that can't be read, or can't be compared."""


class TrainingError(UserError):
    """A training run that can't start or go on."""


class CalibrationError(UserError):
    """Frames that can't calibrate, or a calibration set that doesn't fit."""


class OutputError(UserError):
    """A path that can't be written, a disk that is full."""


class BundleError(UserError):
    """A folder that is not a bundle this version can use."""


class BundleNotFoundError(BundleError):
    """Nothing there."""


class BundleSchemaError(BundleError):
    """A manifest that is not understood, or is newer."""


class BundleTamperedError(BundleError):
    """A file whose content is not what the manifest says."""


class BundlePathError(BundleError):
    """A file name that leads out of the bundle."""


class SignatureError(BundleError):
    """A bundle that the trusted key didn't sign, or that changed since."""


class EngineError(BundleError):
    """A TensorRT engine that is missing, foreign, stale or damaged."""


class BundleBusyError(BundleError):
    """Another process is writing this folder."""


class CheckFailedError(EdgeDepthError):
    """A proof was asked for and came out negative."""

    exit_code = 1


class SelfTestError(CheckFailedError):
    """A bundle's golden output isn't reproduced on this device."""


class ExportFailedError(CheckFailedError):
    """The exporter or its toolchain gave up."""


class QuantizationError(CheckFailedError):
    """INT8 can't be had of this model: activations that aren't finite, or a budget that nothing meets."""


class StageError(CheckFailedError):
    """A stage returned other names, shapes, dtypes or values than it declares."""


class BackendTimeoutError(CheckFailedError):
    """A backend that didn't come back within the time it was given."""


class UnusableOutputError(CheckFailedError):
    """The model's own output can't be metres: NaN, or a focal length of nothing."""
