"""PyTorch: the eager reference's own stages, run as any backend's are. Slow, and right by definition."""

from __future__ import annotations

import torch

from edgedepth.core.errors import DeviceError, OptionError
from edgedepth.core.session import OpenStage
from edgedepth.models.loading import LoadedModel
from edgedepth.models.module_session import ModuleSession, module_stages
from edgedepth.runtimes.base import SessionOptions, refuse_options

__all__ = ["TorchSession", "reference_stages", "torch_device"]

TorchSession = ModuleSession
"""It lives beside the modules, where exporters reach it too."""


def reference_stages(model: LoadedModel, options: SessionOptions | None = None) -> OpenStage:
    """Opens the reference's stages.

    Args:
        model: the reference; it is not changed.
        options: device and threads; None is the CPU, where parity is measured. torch has one number of threads
            for the whole process: `threads` sets that.

    Raises:
        OptionError: an unknown device, or an option that torch has no use for.
        DeviceError: a GPU was asked for and torch has none.
    """
    if options is None:
        return module_stages(model)
    refuse_options(options, "torch", "streams", "performance", "dla_core", "build_if_missing")
    device = torch_device(options.device)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    return module_stages(model, device)


def torch_device(device: str) -> torch.device:
    """The device that a user's words mean: "auto" is the first GPU, else the CPU.

    Raises:
        OptionError: other words.
        DeviceError: a GPU that isn't there.
    """
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and (kind != "cuda" or not index.isdecimal())):
        raise OptionError(
            f"the torch backend has no device {device!r}; allowed are auto, cpu, cuda and cuda:N",
            remedy="edgedepth doctor lists the devices that are here",
        )
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cpu" or (kind == "auto" and not gpus):
        return torch.device("cpu")
    if int(index or 0) >= gpus:
        raise DeviceError(
            f"device {device!r} was asked for; torch {torch.__version__} sees {gpus} CUDA devices here",
            remedy="install a CUDA build of torch and NVIDIA's driver, or use device='cpu'",
        )
    return torch.device("cuda", int(index or 0))
