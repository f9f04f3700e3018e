"""The tensorrt backend: which engine runs here, loaded after everything about it was compared."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import replace
from pathlib import Path

from edgedepth.core.bundle import Bundle
from edgedepth.core.engine import BuildOptions, EngineFacts
from edgedepth.core.errors import DeviceError, EdgeDepthError, EngineError, OptionError
from edgedepth.runtimes.base import Availability, Fit, SessionOptions, artefact_of, refuse_options
from edgedepth.runtimes.trt_session import TrtSession
from edgedepth.trt import providers
from edgedepth.trt.adapter import Gpu, GpuFacts, TensorRt
from edgedepth.trt.building import Graph, build_engine
from edgedepth.trt.engines import (
    build_command,
    bundle_engine,
    cached_engine,
    keep,
    mismatch,
    naming,
    onnx_digest,
    read_plan,
    wanted_engine,
)
from edgedepth.trt.memory import DeviceArrays
from edgedepth.trt.options import EngineOptions, check_arithmetic

__all__ = ["TrtBackend"]

_DEVICE = re.compile(r"(?:cuda|gpu)(?::(\d+))?", re.IGNORECASE)

log = logging.getLogger("edgedepth")


class TrtBackend:
    """Opens stages as TensorRT engines. All sessions of one backend share a stream, and arrays that stay on the GPU."""

    name = "tensorrt"

    def __init__(self) -> None:
        self._opened: dict[int, Gpu] = {}

    def availability(self) -> Availability:
        """Whether TensorRT is installed and sees a GPU, and what is missing."""
        found = [providers.look_for(name) for name in providers.LOADERS]
        here = [provider for provider, _ in found if provider is not None]
        missing = [reason for provider, reason in found if provider is None]
        if not here:
            return Availability(version=None, devices=(), reason="; ".join(missing))
        version = ", ".join(f"{provider.provider} {provider.version}" for provider in here)
        try:
            gpus = providers.HARDWARE().find()
        except EdgeDepthError as error:
            reason = "; ".join((f"engines run on an NVIDIA GPU alone: {error}", *missing))
            return Availability(version=version, devices=(), reason=reason)
        return Availability(
            version=version,
            devices=tuple(f"cuda:{index}" for index in range(len(gpus))),
            reason="" if gpus else "there is no GPU",
            bad="; ".join(filter(None, (providers.known_bad(one.provider, one.version) for one in here))),
        )

    def fit(self, bundle: Bundle, options: SessionOptions) -> Fit:
        """Whether the bundle holds engines for the GPU, or can be built for it; errors as open()."""
        here = self.availability()
        if not here.devices:
            return Fit(runs=False, reason=here.reason)
        index, gpu = _device_for(options.device)
        check_arithmetic(bundle.manifest.precision, (gpu.sm,))
        words = f"cuda:{index} ({gpu.name}, SM {gpu.sm})"
        try:
            for stage in bundle.manifest.artefacts:
                provider, _, _ = self._find(bundle, stage, gpu, replace(options, build_if_missing=False))
        except EngineError as error:
            return Fit(runs=True, to_build=True, reason=f"{words}; {error.problem}")
        return Fit(runs=True, reason=f"an engine of {provider.provider} {provider.version} for {words}")

    def open(self, bundle: Bundle, stage: str, options: SessionOptions) -> TrtSession:
        """Open one stage of a bundle; errors as Backend.open() says.

        Raises:
            EngineError: the bundle has no engine for this device, or a damaged one; with the command that builds it.
            DeviceMemoryError: memory ran out.
        """
        refuse_options(options, "tensorrt", "threads", "streams", "performance")
        artefact_of(bundle, stage)
        index, facts = _device_for(options.device)
        check_arithmetic(bundle.manifest.precision, (facts.sm,))
        gpu = self._gpu(index, facts)
        gpu.use()  # engines are built for, and loaded onto, the thread's current GPU
        rebuild = build_command(bundle.path, options.dla_core)
        with naming(bundle.path, options.dla_core):
            provider, engine, path = self._find(bundle, stage, facts, options)
            plan = read_plan(path, engine, rebuild=rebuild)
            if why := provider.refusal(plan):
                raise EngineError(f"{path} is no engine: {why}", remedy=rebuild)
            loaded = provider.load(plan, gpu, dla_core=options.dla_core)
            if engine.on_gpu:
                log.warning("stage %s: %s", stage, engine.left_to_gpu())
            product = f"{provider.provider} {provider.version}"
            # All that a proof depends on: it is remembered by this.
            words = f"cuda:{index} ({', '.join(filter(None, (facts.name, f'SM {facts.sm}', facts.driver, product)))})"
            return TrtSession(bundle.manifest.artefacts[stage].stage, loaded, DeviceArrays(gpu), words)

    def identity(self, bundle: Bundle, options: SessionOptions) -> str:
        """Names the engines that would run: one that was built again asks for a new self-test."""
        _, gpu = _device_for(options.device)
        digests = []
        for stage in bundle.manifest.artefacts:
            try:
                digests.append(self._find(bundle, stage, gpu, replace(options, build_if_missing=False))[1].sha256)
            except EngineError:
                digests.append("missing")
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]

    def _find(
        self, bundle: Bundle, stage: str, gpu: GpuFacts, options: SessionOptions
    ) -> tuple[TensorRt, EngineFacts, Path]:
        """The engine to load: the bundle's own, else one that was built here before, else a new one, if wished."""
        reasons = []
        usable: list[tuple[TensorRt, EngineFacts]] = []
        for name in providers.LOADERS:
            provider, reason = providers.look_for(name)
            if provider is None or (reason := providers.not_for(provider, gpu)):
                reasons.append(reason)
                continue
            wanted = wanted_engine(
                bundle.manifest,
                stage,
                provider=provider.provider,
                version=provider.version,
                sm=gpu.sm,
                device=gpu.name,
                dla_core=options.dla_core,
            )
            usable.append((provider, wanted))
            own, why_not = bundle_engine(bundle, wanted)
            if own is not None:
                return provider, own, bundle.file(own.path)
            if cached := cached_engine(wanted):
                return provider, *cached
            reasons.append(why_not)
        if not usable:
            raise DeviceError(f"no TensorRT can be used here: {'; '.join(reasons)}", remedy="edgedepth doctor")
        if not options.build_if_missing:
            raise EngineError(
                f"{bundle.path}: stage {stage} has no engine for {gpu.name} (SM {gpu.sm}): {'; '.join(reasons)}",
                remedy=f"{build_command(bundle.path, options.dla_core)}, or EdgeDepth(..., build_if_missing=True)",
            )
        return self._build(bundle, gpu, options, *usable[0])

    def _build(
        self,
        bundle: Bundle,
        gpu: GpuFacts,
        options: SessionOptions,
        provider: TensorRt,
        wanted: EngineFacts,
    ) -> tuple[TensorRt, EngineFacts, Path]:
        stage = wanted.stage.name
        artefact = bundle.manifest.artefacts[stage]
        graph = Graph(
            stage=artefact.stage,
            onnx=bundle.file(artefact.path),
            sha256=onnx_digest(bundle.manifest, stage),
            precision=bundle.manifest.precision,
        )
        log.info("building stage %s for %s with %s; this is kept", stage, gpu.name, provider.provider)

        def tell(step: str, done: int, total: int) -> None:
            log.info("building stage %s: %s [%d/%d]", stage, step, done, total)

        recipe = replace(bundle.manifest.build or BuildOptions(), dla_core=options.dla_core)
        plan, facts = build_engine(graph, provider, gpu, EngineOptions(build=recipe), tell)
        assert not mismatch(facts, wanted)
        log.info("built stage %s in %.0f s, %.0f MB", stage, facts.build_s, facts.size / 1e6)
        return provider, facts, keep(facts, plan, wanted)

    def _gpu(self, index: int, facts: GpuFacts) -> Gpu:
        if index not in self._opened:
            self._opened[index] = providers.HARDWARE().open(index, facts)
        return self._opened[index]


def _device_for(device: str) -> tuple[int, GpuFacts]:
    """The GPU that a user's words mean: "auto" is the first.

    Raises:
        OptionError: other words.
        DeviceError: a GPU that isn't there.
    """
    match = _DEVICE.fullmatch(device)
    if device.lower() != "auto" and match is None:
        raise OptionError(
            f"the tensorrt backend has no device {device!r}; allowed are auto, cuda and cuda:N",
            remedy="edgedepth doctor lists the devices that are here",
        )
    gpus = providers.HARDWARE().find()
    index = int((match and match[1]) or 0)
    if index >= len(gpus):
        raise DeviceError(
            f"device {device!r} was asked for; CUDA sees {len(gpus)} GPUs here",
            remedy="edgedepth doctor lists the devices that are here",
        )
    return index, gpus[index]
