"""ONNX Runtime: bundles of target "onnx", on the CPU or an NVIDIA GPU."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.bundle import Bundle
from edgedepth.core.declared import DeclaredSession, FoundTensor, undeclared
from edgedepth.core.errors import BundleTamperedError, DeviceError, MissingExtraError, OptionError, StageError
from edgedepth.core.feeds import check_feeds, closed_stage, output_buffers
from edgedepth.core.onnx_header import check_onnx
from edgedepth.core.optional import require
from edgedepth.core.session import Array
from edgedepth.core.spec import StageSpec
from edgedepth.runtimes.base import Availability, SessionOptions, artefact_of, refuse_options
from edgedepth.runtimes.ort_arena import shrink_arena, use_shared_arena

__all__ = ["OrtBackend", "OrtSession", "check_started", "providers_for"]

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_INSTALL_GPU = "pip uninstall onnxruntime && pip install onnxruntime-gpu, or use device='cpu'"
_CHECK_GPU = "check the NVIDIA driver, CUDA and cuDNN that this onnxruntime-gpu asks for, or use device='cpu'"
_EXPORT_AGAIN = "export it again: edgedepth export --help"
_NUMPY_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int32)": "int32",
}

_log = logging.getLogger("edgedepth")

Provider = tuple[str, dict[str, str]]


class OrtBackend:
    """Opens ONNX stages with onnxruntime."""

    name = "onnx"

    def availability(self) -> Availability:
        """Whether onnxruntime is installed, and the devices that its build and this machine offer."""
        try:
            ort = _onnxruntime()
        except MissingExtraError as error:
            return Availability(version=None, devices=(), reason=str(error))
        devices = ("cuda", "cpu") if _CUDA in ort.get_available_providers() else ("cpu",)
        return Availability(version=str(ort.__version__), devices=devices)

    def open(self, bundle: Bundle, stage: str, options: SessionOptions) -> OrtSession:
        """Open one stage of a bundle; errors as Backend.open() says."""
        artefact = artefact_of(bundle, stage)
        return OrtSession(bundle.file(artefact.path), artefact.stage, options)


def providers_for(device: str, available: Sequence[str]) -> list[Provider]:
    """The execution providers for a device, best first.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N".
        available: what this build of onnxruntime has.

    Raises:
        OptionError: a device that onnxruntime isn't asked for.
        DeviceError: a GPU was asked for and this build has no CUDA provider.
    """
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and (kind != "cuda" or not index.isdecimal())):
        raise OptionError(
            f"the onnx backend has no device {device!r}; allowed are auto, cpu, cuda and cuda:N",
            remedy="edgedepth doctor lists the devices that are here",
        )
    if kind == "cuda" and _CUDA not in available:
        raise DeviceError(
            f"device {device!r} was asked for; this onnxruntime has only {', '.join(available)}", remedy=_INSTALL_GPU
        )
    cpu: Provider = (_CPU, {})
    if kind == "cpu" or _CUDA not in available:
        return [cpu]
    # Operators that CUDA lacks run on the CPU: the order is a preference for each operator. TF32 keeps 11 bits of
    # what the bundle calls fp32, so it stays off.
    return [(_CUDA, {"device_id": index or "0", "use_tf32": "0"}), cpu]


class OrtSession(DeclaredSession):
    """One ONNX file, opened; a Session.

    run() may be called from several threads: each call binds its own buffers.

    Args:
        path: the .onnx file; its external data lies beside it.
        stage: what the manifest declares; the file has to agree.
        options: device and threads.
        without: passes of onnxruntime's own that are left out.

    Raises:
        MissingExtraError: onnxruntime isn't installed.
        OptionError: an option that onnxruntime has no use for.
        DeviceError: the device isn't there, or its provider didn't start.
        BundleTamperedError: the file doesn't load, or isn't what the manifest declares.
    """

    def __init__(self, path: Path, stage: StageSpec, options: SessionOptions, *, without: Sequence[str] = ()) -> None:
        refuse_options(options, "onnx", "streams", "performance", "dla_core", "build_if_missing")
        super().__init__(stage)
        check_onnx(path)
        self._session: Any = _load(path, options, without)
        if found := undeclared(stage, _tensors(self._session.get_inputs()), _tensors(self._session.get_outputs())):
            raise BundleTamperedError(f"{path} has {found}", remedy=_EXPORT_AGAIN)
        self._device = _device_in_words(self._session)
        _log.debug("stage %s runs on %s (onnxruntime)", stage.name, self._device)

    @property
    def device(self) -> str:
        """Where it really runs, as the session itself reports."""
        return self._device

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Run the stage once, as Session.run() says. Inputs are read and outputs written where they lie."""
        session = self._session
        if session is None:
            raise closed_stage(self._stage)
        sizes = check_feeds(self._stage, feeds)
        results = output_buffers(self._stage, out, sizes)
        # Kept until the run is over: the binding holds bare pointers.
        arrays = {name: np.require(array, requirements=("C", "A")) for name, array in feeds.items()}
        binding = session.io_binding()
        for name, array in arrays.items():
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for name, result in results.items():
            binding.bind_output(name, "cpu", 0, np.float32, result.shape, result.ctypes.data)
        try:
            session.run_with_iobinding(binding)
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            raise StageError(
                f"stage {self._stage.name} failed in onnxruntime: {_first_line(error)}",
                remedy="if memory ran out, export with a smaller --tile-batch; else try device='cpu'",
            ) from error
        return results

    def close(self) -> None:
        """Free the weights and buffers."""
        if self._session is not None:
            self._session = None
            shrink_arena()


def _onnxruntime() -> Any:
    return require("onnxruntime", extra="onnx", purpose="to run ONNX bundles")


def _load(path: Path, options: SessionOptions, without: Sequence[str]) -> Any:
    ort = _onnxruntime()
    providers = providers_for(options.device, ort.get_available_providers())
    wanted = providers[0][0]
    try:
        session = ort.InferenceSession(
            str(path),
            _session_options(ort, options, [name for name, _ in providers]),
            providers=providers,
            enable_fallback=0,
            disabled_optimizers=list(without),
        )
    except Exception as error:  # onnxruntime's exceptions have no common base of their own
        if wanted == _CUDA and options.device == "auto":
            _log.warning("CUDA did not start (%s); trying the CPU", _first_line(error))
            return _load(path, replace(options, device="cpu"), without)
        if wanted == _CUDA and "CUDA" in str(error):
            raise DeviceError(
                f"device {options.device!r}: CUDA did not start: {_first_line(error)}", remedy=_CHECK_GPU
            ) from error
        raise BundleTamperedError(
            f"{path} doesn't load in onnxruntime {ort.__version__}: {_first_line(error)}", remedy=_EXPORT_AGAIN
        ) from error
    check_started(wanted, session.get_providers(), options.device)
    return session


def check_started(wanted: str, started: Sequence[str], device: str) -> None:
    """Notice when onnxruntime dropped a provider: without its driver or libraries CUDA is only missing from the list.

    Args:
        wanted: the provider that was asked for first.
        started: the providers of the session.
        device: what the user asked for; "auto" may fall back, and the log says so.

    Raises:
        DeviceError: the device was asked for by name.
    """
    if wanted in started:
        return
    if device != "auto":
        raise DeviceError(
            f"device {device!r}: onnxruntime could not start {wanted}; it would run on {', '.join(started)}",
            remedy=_CHECK_GPU,
        )
    _log.warning("onnxruntime could not start %s; running on %s", wanted, ", ".join(started))


def _session_options(ort: Any, options: SessionOptions, providers: Sequence[str]) -> Any:
    chosen = ort.SessionOptions()
    if providers == [_CPU] and not options.least_memory:
        use_shared_arena(ort, chosen)
    else:  # a stage's peak is larger in an arena; and what CUDA leaves to the CPU is small
        chosen.enable_cpu_mem_arena = False
    # Each session has threads of its own, and those of the last stage would spin beside the next one's.
    chosen.add_session_config_entry("session.force_spinning_stop", "1")
    chosen.log_severity_level = 4  # what goes wrong is raised; onnxruntime would print it as well
    if options.threads is not None:
        chosen.intra_op_num_threads = options.threads
    return chosen


def _tensors(args: Any) -> list[FoundTensor]:
    return [(arg.name, _NUMPY_DTYPES.get(arg.type, arg.type), arg.shape) for arg in args]


def _device_in_words(session: Any) -> str:
    if session.get_providers()[0] == _CUDA:
        return f"cuda:{session.get_provider_options()[_CUDA].get('device_id', '0')}"
    return "cpu"


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
