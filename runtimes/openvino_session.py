"""OpenVINO: bundles of target "openvino", on a CPU, or on Intel's GPUs and NPUs."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.bundle import Bundle
from edgedepth.core.declared import DeclaredSession, FoundTensor, undeclared
from edgedepth.core.errors import BundleError, BundleTamperedError, DeviceError, MissingExtraError, StageError
from edgedepth.core.feeds import check_feeds, closed_stage, output_buffers
from edgedepth.core.ir_header import check_ir
from edgedepth.core.optional import require
from edgedepth.core.session import Array
from edgedepth.core.spec import Precision, StageSpec
from edgedepth.runtimes.base import Availability, Fit, SessionOptions, artefact_of, refuse_options
from edgedepth.runtimes.mapped_files import forget_mapped_pages
from edgedepth.runtimes.openvino_cache import compiled_cache
from edgedepth.runtimes.openvino_devices import (
    available_devices,
    check_thread_option,
    device_for,
    in_words,
    inference_precision,
)

__all__ = ["OpenVinoBackend", "OpenVinoSession"]

_EXPORT_AGAIN = "export it again: edgedepth export --help"
_NUMPY_DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64", "i32": "int32"}

_log = logging.getLogger("edgedepth")


class OpenVinoBackend:
    """Opens stages of IR with OpenVINO."""

    name = "openvino"

    def availability(self) -> Availability:
        """Whether OpenVINO is installed, and the devices that it and this machine offer."""
        try:
            ov = _openvino()
        except MissingExtraError as error:
            return Availability(version=None, devices=(), reason=str(error))
        return Availability(version=_version(ov), devices=available_devices(_core().available_devices))

    def fit(self, bundle: Bundle, options: SessionOptions) -> Fit:
        """Whether a device that is here computes in the bundle's precision; errors as open()."""
        ov = _openvino()
        device = device_for(options.device, _core().available_devices)
        hint = inference_precision(_core(), device, bundle.manifest.precision)
        return Fit(runs=True, reason=f"openvino {_version(ov)} on {device.lower()}, {hint}")

    def open(self, bundle: Bundle, stage: str, options: SessionOptions) -> OpenVinoSession:
        """Open one stage of a bundle; errors as Backend.open() says.

        Raises:
            UnsupportedError: the device doesn't compute in the bundle's precision.
        """
        artefact = artefact_of(bundle, stage)
        path = bundle.file(artefact.path)
        relative = bundle.manifest.model.relative
        return OpenVinoSession(
            path,
            artefact.stage,
            options,
            precision=bundle.manifest.precision,
            bundle=bundle.path,
            fused=relative is None or self.name not in relative.unfused_on,
        )


class OpenVinoSession(DeclaredSession):
    """One IR, compiled for one device; a Session.

    run() may be called from several threads: each takes a request of its own, with buffers of its own.

    Args:
        path: the .xml file; the .bin lies beside it.
        stage: what the manifest declares; the file has to agree.
        options: device, threads, streams, performance.
        precision: the bundle's: what the device shall compute in.
        bundle: its folder, whose compiled stages are kept in the artefact store; None: compiled each time.
        fused: whether a CPU may fuse operations into snippets; it gets Swin v2's attention wrong.

    Raises:
        MissingExtraError: OpenVINO isn't installed.
        OptionError: a device or an option that OpenVINO doesn't take.
        DeviceError: the device isn't there, or doesn't start.
        UnsupportedError: the device doesn't compute in this precision.
        BundleTamperedError: the file doesn't load, or isn't what the manifest declares.
        BundleError: the file can't be read.
    """

    def __init__(
        self,
        path: Path,
        stage: StageSpec,
        options: SessionOptions,
        *,
        precision: Precision = "fp32",
        bundle: Path | None = None,
        fused: bool = True,
    ) -> None:
        super().__init__(stage)
        self._process = os.getpid()
        self._compiled: Any = _compile(path, stage, options, precision, bundle, fused=fused)
        self._idle: list[Any] = []  # requests that no run is using
        inputs, outputs = (_ports(self._compiled, kind, stage) for kind in ("inputs", "outputs"))
        if found := undeclared(stage, inputs, outputs, named=False):
            raise BundleTamperedError(f"{path} has {found}", remedy=_EXPORT_AGAIN)
        self._device = in_words(_core(), self._compiled)
        _log.debug("stage %s runs on %s (OpenVINO)", stage.name, self._device)

    @property
    def device(self) -> str:
        """Where it really runs and in which precision, as the compiled stage itself reports."""
        return self._device

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Run the stage once, as Session.run() says. Inputs are read and outputs written where they lie."""
        compiled = self._compiled
        if compiled is None:
            raise closed_stage(self._stage)
        if os.getpid() != self._process:
            raise StageError(
                f"stage {self._stage.name} was opened before this process was forked; OpenVINO's threads stayed behind "
                "and it would wait for ever",
                remedy="open the model after the fork, or start processes with multiprocessing's 'spawn'",
            )
        sizes = check_feeds(self._stage, feeds)
        results = output_buffers(self._stage, out, sizes)
        # Kept until the run is over: the tensors are bare views of them. OpenVINO takes no views of read-only arrays.
        arrays = {name: np.require(array, requirements=("C", "A", "W")) for name, array in feeds.items()}
        request = self._take_request(compiled)
        try:
            for name, array in (*arrays.items(), *results.items()):
                request.set_tensor(name, _shared(array))
            request.start_async()  # infer() would also copy every output
            request.wait()
        except Exception as error:  # OpenVINO's exceptions are RuntimeErrors and more
            raise StageError(
                f"stage {self._stage.name} failed in OpenVINO: {_gist(error)}",
                remedy="if memory ran out, export with a smaller --tile-batch; else try device='cpu'",
            ) from error
        self._idle.append(request)
        return results

    def close(self) -> None:
        """Free the weights and buffers."""
        self._compiled = None
        self._idle = []

    def _take_request(self, compiled: Any) -> Any:
        """A request that nobody uses; a new one costs buffers for every layer, so they are kept."""
        try:
            return self._idle.pop()
        except IndexError:
            return compiled.create_infer_request()


def _openvino() -> Any:
    return require("openvino", extra="openvino", purpose="to run OpenVINO bundles")


@functools.cache
def _core() -> Any:
    """The one Core of this process: making another looks for every device again."""
    return _openvino().Core()


def _version(ov: Any) -> str:
    """The release, "2026.4.1", without the build's number and branch."""
    return str(ov.__version__).partition("-")[0]


def _compile(
    path: Path, stage: StageSpec, options: SessionOptions, precision: Precision, bundle: Path | None, *, fused: bool
) -> Any:
    ov = _openvino()
    core = _core()
    refuse_options(options, "openvino", "dla_core", "build_if_missing")
    device = device_for(options.device, core.available_devices)
    check_thread_option(device, options)
    _check_is_ir(path, _version(ov))
    properties = _properties(options) | {"INFERENCE_PRECISION_HINT": inference_precision(core, device, precision)}
    if not fused and device == "CPU":
        properties["SNIPPETS_MODE"] = "DISABLE"  # a property of the CPU plugin's own; the golden frame tells if it goes
    with compiled_cache(bundle, f"{stage.name} {device} {sorted(properties.items())}", ov.__version__) as cache:
        if cache is not None:
            properties["CACHE_DIR"] = str(cache)
        try:
            compiled = core.compile_model(str(path), device, properties)
        except Exception as error:  # OpenVINO's exceptions are RuntimeErrors and more
            if device == "CPU":
                raise BundleTamperedError(
                    f"{path} doesn't load in OpenVINO {_version(ov)}: {_gist(error)}", remedy=_EXPORT_AGAIN
                ) from error
            raise DeviceError(
                f"device {options.device!r} can't compile {path}: {_gist(error)}",
                remedy="update the device's driver, or use device='cpu'",
            ) from error
    # The device has copies of the weights in its own layout.
    forget_mapped_pages([folder.resolve() for folder in (path.parent, cache) if folder is not None])
    return compiled


def _check_is_ir(path: Path, version: str) -> None:
    """Refuse what can't be opened, with the reason, which OpenVINO doesn't tell; and what is no whole IR.

    OpenVINO would try every format it knows on that, and each would print what it thinks of it.
    """
    problem = f"{path} doesn't load in OpenVINO {version}"
    try:
        with path.open("rb"), path.with_suffix(".bin").open("rb"):
            pass
    except FileNotFoundError as error:
        raise BundleTamperedError(f"{problem}: {error.filename} is missing", remedy=_EXPORT_AGAIN) from error
    except OSError as error:
        raise BundleError(
            f"{problem}: {error.filename}: {error.strerror}",
            remedy="let this user read it; if too many files are open, raise the limit: ulimit -n 4096",
        ) from error
    check_ir(path)


def _properties(options: SessionOptions) -> dict[str, str]:
    properties = {"PERFORMANCE_HINT": options.performance.upper()}
    if options.threads is not None:
        properties["INFERENCE_NUM_THREADS"] = str(options.threads)
    if options.streams is not None:
        properties["NUM_STREAMS"] = str(options.streams)
    return properties


def _ports(compiled: Any, kind: str, stage: StageSpec) -> list[FoundTensor]:
    declared = [spec.name for spec in getattr(stage, kind)]
    return [_port(port, declared) for port in getattr(compiled, kind)]


def _port(port: Any, declared: list[str]) -> FoundTensor:
    """Name, dtype and shape, -1 for what may vary. A port may have several names; a declared one is told first."""
    names = sorted(port.get_names())
    dtype = port.get_element_type().get_type_name()
    shape = tuple(-1 if size.is_dynamic else size.get_length() for size in port.get_partial_shape())
    return next((name for name in declared if name in names), ",".join(names)), _NUMPY_DTYPES.get(dtype, dtype), shape


def _shared(array: npt.NDArray[Any]) -> Any:
    """The array's own memory as a tensor."""
    return _openvino().Tensor(array, shared_memory=True)


def _gist(error: BaseException) -> str:
    """The first line that says something: OpenVINO's messages start with names of its own source files."""
    lines = (line.strip() for line in str(error).splitlines())
    told = (line for line in lines if line and not line.startswith(("Exception from ", "Check '")))
    return next(told, type(error).__name__)
