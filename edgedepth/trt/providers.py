"""Which TensorRT is here: the two products, what is missing of each, and the one that an export or a session takes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from edgedepth.core.errors import DeviceError, EdgeDepthError, OptionError, UnsupportedError
from edgedepth.trt.adapter import Gpu, GpuFacts, TensorRt
from edgedepth.trt.options import ProviderChoice

__all__ = ["INSTALL", "LOADERS", "Hardware", "choose_builder", "find_provider", "known_bad", "look_for", "not_for"]

INSTALL = {
    "tensorrt": "TensorRT comes with JetPack on a Jetson (a virtual environment sees it when it is made with "
    "--system-site-packages) and from NVIDIA's own package index on x86-64; PyPI holds no libraries of it",
    "tensorrt-rtx": "pip install 'edgedepth[tensorrt]' (x86-64 alone)",
}
_NO_STRONG_TYPES = (
    "it knows no strongly typed networks, in which a graph says what is computed in which precision",
    "update the Jetson to JetPack 6.1 (TensorRT 10.3) or, better, 7.2 (10.16); 6.0 has 8.6 and can't be updated alone",
)


@dataclass(frozen=True, slots=True)
class Hardware:
    """How GPUs are found and opened; the fake of tests has its own."""

    find: Callable[[], tuple[GpuFacts, ...]]
    open: Callable[[int, GpuFacts], Gpu]


def _load_tensorrt() -> TensorRt:
    return _load("tensorrt", ("tensorrt",))


def _load_rtx() -> TensorRt:
    return _load("tensorrt-rtx", ("tensorrt_rtx", "tensorrt_rtx_bindings"))


def _cuda() -> Hardware:
    from edgedepth.trt.cuda_api import CudaGpu, find_gpus

    return Hardware(find=find_gpus, open=CudaGpu)


LOADERS: dict[str, Callable[[], TensorRt]] = {"tensorrt": _load_tensorrt, "tensorrt-rtx": _load_rtx}
"""How each provider is loaded, the one that runs everywhere first."""

HARDWARE: Callable[[], Hardware] = _cuda


def find_provider(name: str) -> TensorRt:
    """A provider by its name.

    Raises:
        UnsupportedError: it isn't installed, doesn't import, or is too old; with what cures it.
    """
    return LOADERS[name]()


def look_for(name: str) -> tuple[TensorRt | None, str]:
    """A provider, or why it isn't here."""
    try:
        return find_provider(name), ""
    except EdgeDepthError as error:
        return None, str(error)


def not_for(provider: TensorRt, gpu: GpuFacts) -> str:
    """Why a provider has no kernels for a GPU; empty when it has. TensorRT itself tells when it is asked to build."""
    if not provider.ahead_of_time or gpu.sm in provider.ahead_of_time:
        return ""
    sms = ", ".join(map(str, provider.ahead_of_time))
    return f"{provider.provider} {provider.version} is for SM {sms}, and {gpu.name} has SM {gpu.sm}"


def choose_builder(choice: ProviderChoice, gpu: GpuFacts | None) -> tuple[TensorRt | None, str]:
    """Who builds engines on this machine.

    TensorRT itself builds on the GPU that it is for, and nowhere else. RTX builds ahead of time as well.

    Args:
        choice: "auto", or one by name.
        gpu: the GPU that engines are for; None: they are built ahead of time.

    Returns:
        The provider and "", or None and why nobody can.

    Raises:
        OptionError: another word.
        UnsupportedError, DeviceError: the one that was asked for by name isn't here, or needs a GPU.
    """
    if choice not in get_args(ProviderChoice):
        raise OptionError(
            f"there is no provider {choice!r}; allowed are {', '.join(get_args(ProviderChoice))}",
            remedy="leave --provider out",
        )
    if choice != "auto":
        provider = find_provider(choice)
        if gpu is None and not provider.ahead_of_time:
            raise DeviceError(
                f"{choice} {provider.version} builds on the GPU that an engine is for, and there is none here",
                remedy="leave --provider out for a build kit, and run 'edgedepth build KIT' on the device",
            )
        if gpu is not None and (reason := not_for(provider, gpu)):
            raise DeviceError(
                reason, remedy=f"{INSTALL['tensorrt']}; for other GPUs, build ahead of time: --sm 86,89,120"
            )
        return provider, ""
    reasons = []
    for name in LOADERS:
        provider_here, reason = look_for(name)
        if provider_here is not None:
            no_gpu = "" if provider_here.ahead_of_time else f"{name} needs the GPU itself, and there is none here"
            reason = no_gpu if gpu is None else not_for(provider_here, gpu)
            if not reason:
                return provider_here, ""
        reasons.append(reason)
    return None, "; ".join(reasons)


def known_bad(provider: str, version: str) -> str:
    """What is known against a version; empty for all others.

    10.3 to 10.7 gave wrong depth of vision transformers without an error in several independent reports:
    NVIDIA/TensorRT#4723, #4419, #4333, #4328, #4742. Not refused: some graphs are right, and the self-test tells.
    """
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if provider == "tensorrt" and (10, 3) <= numbers <= (10, 7):
        return (
            f"TensorRT {version} is one of 10.3 to 10.7, which are known to compute vision transformers wrong without "
            "a word (NVIDIA/TensorRT#4723); JetPack 7.2 brings 10.16"
        )
    return ""


def _load(provider: str, modules: tuple[str, ...]) -> TensorRt:
    from edgedepth.trt.tensorrt_api import TensorRtApi, is_strongly_typed

    module, reason = _import(modules)
    if module is None:
        raise UnsupportedError(f"{provider} is not here: {reason}", remedy=INSTALL[provider])
    if not is_strongly_typed(module):
        reason, remedy = _NO_STRONG_TYPES
        raise UnsupportedError(f"{provider} {module.__version__} is too old: {reason}", remedy=remedy)
    return TensorRtApi(module, provider)


def _import(names: tuple[str, ...]) -> tuple[Any, str]:
    """The first of the modules that is whole, or why none is."""
    reason = f"{names[-1]} is not installed"
    for name in names:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                reason = f"{name} does not import: {error}"
            continue
        except Exception as error:  # a library that is missing or of another CUDA: OSError, RuntimeError and more
            reason = f"{name} does not import: {' '.join(str(error).split())}"
            continue
        if hasattr(module, "Builder"):
            return module, ""
        reason = f"{name} is installed without its libraries"  # PyPI's placeholders, or type stubs alone
    return None, reason
