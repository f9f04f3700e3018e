"""Backends: what they can do here, and how they open a stage. One row of the table a backend."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from edgedepth.core.bundle import Bundle
from edgedepth.core.errors import EdgeDepthError, OptionError, StageError
from edgedepth.core.manifest import Artefact
from edgedepth.core.session import Session
from edgedepth.core.targets import ALIASES

__all__ = [
    "BACKENDS",
    "Availability",
    "Backend",
    "Fit",
    "Performance",
    "SessionOptions",
    "artefact_of",
    "backend_named",
    "fit_of",
    "refuse_options",
]

Performance = Literal["latency", "throughput"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """How sessions are opened.

    Args:
        device: "auto", "cpu", "cuda", "cuda:1", "gpu", "npu": a device asked for by name is that device or an error.
        threads: for the arithmetic of one stage; None leaves it to the backend.
        streams: how many run() calls, from threads of their own, a session works on at once; None leaves it to the
            backend. openvino only.
        performance: what the backend plans for: the "latency" of one run, or the "throughput" of several at once.
            openvino only.
        dla_core: the deep learning accelerator of a Jetson that shall run it; None: the GPU. tensorrt only.
        build_if_missing: build the engines that a bundle lacks for this device, and keep them. tensorrt only.
        least_memory: rather slower than larger, where a backend has that choice.
    """

    device: str = "auto"
    threads: int | None = None
    streams: int | None = None
    performance: Performance = "latency"
    dla_core: int | None = None
    build_if_missing: bool = False
    least_memory: bool = False

    def __post_init__(self) -> None:
        """Refuse what no backend understands.

        Raises:
            OptionError: a device that is no text, a number of threads or streams that is none, an unknown performance.
        """
        if not isinstance(self.device, str):
            raise OptionError(
                f"device is {self.device!r}; allowed are names, 'cpu' or 'cuda:0'", remedy="device='auto'"
            )
        for name, count in (("threads", self.threads), ("streams", self.streams)):
            if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
                raise OptionError(f"{name} is {count!r}; allowed are 1 and more, or None", remedy=f"leave {name} out")
        if self.performance not in get_args(Performance):
            raise OptionError(
                f"performance is {self.performance!r}; allowed are {', '.join(get_args(Performance))}",
                remedy="leave performance out",
            )


_BACKEND_OF = {"dla_core": "tensorrt", "build_if_missing": "tensorrt"}


def refuse_options(options: SessionOptions, backend: str, *names: str) -> None:
    """Refuse options that a backend has no use for.

    Args:
        options: as they were given.
        backend: its name, for the message.
        names: of the fields that have no effect on it.

    Raises:
        OptionError: one of them was set.
    """
    unset = SessionOptions()
    for name in names:
        if (value := getattr(options, name)) != getattr(unset, name):
            raise OptionError(
                f"{name}={value!r} has no effect on the {backend} backend",
                remedy=f"leave {name} out, or use backend={_BACKEND_OF.get(name, 'openvino')!r}",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Whether a backend runs on this machine.

    Args:
        version: of its runtime; None when it isn't installed.
        devices: what it can be asked for here, best first: ("cuda", "cpu"). Empty: it doesn't run here.
        reason: why it doesn't run here, and what cures it; empty when it does.
        bad: what is known against this version; empty for nearly all.
    """

    version: str | None
    devices: tuple[str, ...]
    reason: str = ""
    bad: str = ""


class Backend(Protocol):
    """A runtime that opens the stages of bundles that were exported for it."""

    name: str

    def availability(self) -> Availability:
        """What it can do here. Never raises, imports as little as it can."""
        ...

    def open(self, bundle: Bundle, stage: str, options: SessionOptions) -> Session:
        """Open one stage of a bundle.

        Raises:
            MissingExtraError: its package isn't installed.
            DeviceError: the device that was asked for isn't there.
            BundleTamperedError: the artefact doesn't load, or isn't what the manifest declares.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Whether a bundle can be run on a device of this machine.

    Args:
        runs: it can, as it is or once its engines are built.
        to_build: its engines have to be built first.
        reason: in words: on what, or why not.
    """

    runs: bool
    to_build: bool = False
    reason: str


def fit_of(bundle: Bundle, options: SessionOptions) -> Fit:
    """Whether a bundle fits this machine, found out without opening it.

    A backend that knows more than which devices there are has a method of this kind: fit(bundle, options) -> Fit,
    which may raise what open() would.
    """
    backend = backend_named(bundle.manifest.target)
    judge: Callable[[Bundle, SessionOptions], Fit] = getattr(
        backend, "fit", lambda *_: _fit_by_device(backend, options)
    )
    try:
        return judge(bundle, options)
    except EdgeDepthError as error:
        return Fit(runs=False, reason=error.problem)


def _fit_by_device(backend: Backend, options: SessionOptions) -> Fit:
    here = backend.availability()
    if not here.devices:
        return Fit(runs=False, reason=here.reason)
    kinds = [device.partition(":")[0] for device in here.devices]
    if options.device.lower() not in ("auto", *here.devices, *kinds):
        return Fit(runs=False, reason=f"{backend.name} has {', '.join(here.devices)} here, and no {options.device}")
    device = here.devices[0] if options.device.lower() == "auto" else options.device
    return Fit(runs=True, reason=f"{backend.name} {here.version} on {device}")


# Modules are imported when a backend is asked for: none may be needed to list the others.
BACKENDS: dict[str, str] = {
    "onnx": "edgedepth.runtimes.ort_session:OrtBackend",
    "openvino": "edgedepth.runtimes.openvino_session:OpenVinoBackend",
    "tensorrt": "edgedepth.runtimes.trt_backend:TrtBackend",
    "coreml": "edgedepth.runtimes.coreml_session:CoreMlBackend",
    "coreai": "edgedepth.runtimes.coreai_session:CoreAiBackend",
}


def backend_named(name: str) -> Backend:
    """The backend of that name or alias.

    Raises:
        OptionError: no backend is called that.
    """
    name = ALIASES.get(name, name)
    if name not in BACKENDS:
        raise OptionError(
            f"there is no backend {name!r}; allowed are auto, torch, {', '.join(BACKENDS)}",
            remedy="edgedepth doctor lists what runs here",
        )
    module, _, attribute = BACKENDS[name].partition(":")
    factory: Callable[[], Backend] = getattr(importlib.import_module(module), attribute)
    return factory()


def artefact_of(bundle: Bundle, stage: str) -> Artefact:
    """What a bundle holds for a stage.

    Raises:
        StageError: nothing.
    """
    artefacts = bundle.manifest.artefacts
    if stage not in artefacts:
        raise StageError(
            f"{bundle.path} has no stage {stage!r}; it has {', '.join(artefacts)}",
            remedy="edgedepth inspect lists a bundle's stages; --layout chooses them at export",
        )
    return artefacts[stage]
