"""Core AI: bundles of target "coreai", on Apple's own runtime: the CPU on Linux, what a Mac has there."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgedepth.core.bundle import Bundle
from edgedepth.core.declared import DeclaredSession, FoundTensor, undeclared
from edgedepth.core.errors import BundleTamperedError, DeviceError, OptionError, StageError
from edgedepth.core.feeds import check_feeds, closed_stage, output_buffers, receive_output
from edgedepth.core.optional import installed_version, require
from edgedepth.core.session import Array
from edgedepth.core.spec import StageSpec
from edgedepth.runtimes.base import Availability, SessionOptions, artefact_of, refuse_options

__all__ = ["CoreAiBackend", "CoreAiSession"]

_EXPORT_AGAIN = "export it again: edgedepth export --target coreai"
_T = TypeVar("_T")


class CoreAiBackend:
    """Opens stages of Core AI bundles."""

    name = "coreai"

    def availability(self) -> Availability:
        """Whether coreai-core is installed. Where no wheel of it exists, the reason says for what there are some."""
        version = installed_version("coreai-core")
        if version is None:
            return Availability(
                version=None,
                devices=(),
                reason="coreai-core is not installed: pip install 'edgedepth[coreai]' (CPython 3.11 and newer, x86-64 "
                "Linux with glibc 2.34, or macOS 26 on Apple silicon)",
            )
        return Availability(version=version, devices=("cpu",))

    def open(self, bundle: Bundle, stage: str, options: SessionOptions) -> CoreAiSession:
        """Open one stage of a bundle; errors as Backend.open() says."""
        artefact = artefact_of(bundle, stage)
        return CoreAiSession(bundle.file(artefact.path).parent, artefact.stage, options)


class CoreAiSession(DeclaredSession):
    """One model asset; a Session. Runs from several threads are done one after the other.

    Args:
        asset: the .aimodel, a folder.
        stage: what the manifest declares; the asset has to agree.
        options: the device.

    Raises:
        OptionError: a device or an option that Core AI doesn't take.
        DeviceError: a device that its Python runtime doesn't offer here.
        BundleTamperedError: the asset doesn't load, or isn't what the manifest declares.
        MissingExtraError: coreai-core isn't installed.
    """

    def __init__(self, asset: Path, stage: StageSpec, options: SessionOptions) -> None:
        refuse_options(options, "coreai", "threads", "streams", "performance", "dla_core", "build_if_missing")
        _check_device(options.device)
        authoring = require("coreai.authoring", extra="coreai", purpose="to run Core AI bundles")
        runtime = require("coreai.runtime", extra="coreai", purpose="to run Core AI bundles")
        _check_whole(asset)
        self._array: Any = runtime.NDArray
        super().__init__(stage)
        self._loop: _Loop | None = _Loop(f"edgedepth-coreai-{stage.name}")
        try:
            self._opened: AbstractAsyncContextManager[Any] = authoring.AIModelAsset.load(asset).executable()
            self._function: Any = self._loop.run(self._open())
            described = self._function.desc
            inputs = _tensors(described.input_names, described.input_descriptor)
            if found := undeclared(stage, inputs, _tensors(described.output_names, described.output_descriptor)):
                raise BundleTamperedError(f"{asset} has {found}", remedy=_EXPORT_AGAIN)
        except BundleTamperedError:
            self.close()
            raise
        except Exception as error:  # the runtime raises RuntimeErrors and more
            self._loop.stop()
            self._loop = None
            raise BundleTamperedError(f"{asset} doesn't load in Core AI: {error}", remedy=_EXPORT_AGAIN) from error

    @property
    def device(self) -> str:
        """Where it runs."""
        return f"cpu (Core AI {installed_version('coreai-core')})"

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Run the stage once, as Session.run() says. Outputs are copied once, out of the runtime's own arrays."""
        loop = self._loop
        if loop is None:
            raise closed_stage(self._stage)
        results = output_buffers(self._stage, out, check_feeds(self._stage, feeds))
        # Core AI keeps the array's own memory: it has to be contiguous.
        arrays = {name: self._array(np.require(array, requirements=("C", "A"))) for name, array in feeds.items()}
        try:
            outputs = loop.run(self._function(arrays))
        except Exception as error:
            raise StageError(
                f"stage {self._stage.name} failed in Core AI: {error}",
                remedy="if memory ran out, export with a smaller --tile-batch",
            ) from error
        for name, result in results.items():
            receive_output(self._stage, name, outputs[name].numpy(), result, remedy=_EXPORT_AGAIN)
        return results

    def close(self) -> None:
        """Free the weights, and the thread that the runtime's coroutines run in."""
        loop, self._loop = self._loop, None
        if loop is not None:
            self._function = None
            loop.run(self._close())
            loop.stop()

    async def _open(self) -> Any:
        model = await self._opened.__aenter__()
        return model.load_function("main")

    async def _close(self) -> None:
        await self._opened.__aexit__(None, None, None)


class _Loop:
    """A thread for the runtime's coroutines: the caller's own may have a loop that is running (in a notebook)."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()
        self._one = threading.Lock()

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """The coroutine's result; one at a time."""
        with self._one:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def stop(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _check_whole(asset: Path) -> None:
    """The runtime's own reader ends the process on what isn't an asset, or on a damaged one."""
    try:
        written = (asset / "main.hash").read_bytes()
        found = hashlib.sha256((asset / "main.mlirb").read_bytes()).digest()
    except OSError as error:
        raise BundleTamperedError(f"{asset} is no whole model asset: {error}", remedy=_EXPORT_AGAIN) from error
    if found != written:
        raise BundleTamperedError(f"{asset}: main.mlirb isn't what main.hash says", remedy=_EXPORT_AGAIN)


def _check_device(device: str) -> None:
    word = device.lower()
    if word in ("gpu", "npu", "ane"):
        raise DeviceError(
            f"device {device!r} was asked for; Core AI's Python runtime computes on the CPU until macOS 27",
            remedy="leave --device out, or use --target coreml for the GPU and the Neural Engine",
        )
    if word not in ("auto", "cpu"):
        raise OptionError(
            f"the coreai backend has no device {device!r}; allowed are auto and cpu",
            remedy="edgedepth doctor lists the devices that are here",
        )


def _tensors(names: Sequence[str], descriptor_of: Callable[[str], Any]) -> list[FoundTensor]:
    return [(name, descriptor_of(name).dtype, descriptor_of(name).shape) for name in names]
