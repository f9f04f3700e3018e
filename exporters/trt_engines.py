"""From a bundle of typed ONNX graphs to the same bundle with engines: what `edgedepth build` does."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from edgedepth.core.bundle import Bundle, BundleWriter, open_bundle, write_bundle
from edgedepth.core.engine import BuildOptions, EngineFacts
from edgedepth.core.errors import DeviceError, EdgeDepthError, ExportFailedError, OptionError
from edgedepth.core.manifest import Manifest
from edgedepth.core.optional import is_installed
from edgedepth.core.progress import Progress, silent
from edgedepth.trt import providers
from edgedepth.trt.adapter import GpuFacts, TensorRt
from edgedepth.trt.building import Graph, build_engine
from edgedepth.trt.engines import build_command, naming, onnx_digest
from edgedepth.trt.lint import Finding, lint_file
from edgedepth.trt.options import EngineOptions

__all__ = [
    "BuilderHere",
    "add_engines",
    "build_bundle",
    "builder_here",
    "check_graphs",
    "proven_here",
    "refuse_findings",
    "without_dla",
]

log = logging.getLogger("edgedepth")


@dataclass(frozen=True, slots=True)
class BuilderHere:
    """Who builds on this machine: a provider or why there is none, and the GPU or None."""

    provider: TensorRt | None
    gpu: GpuFacts | None
    reason: str


def builder_here(options: EngineOptions) -> BuilderHere:
    """Look for a GPU and a provider.

    Raises:
        UnsupportedError, DeviceError: a provider that was asked for by name isn't here, or needs a GPU.
    """
    gpu = None
    no_gpu = ""
    try:
        gpu = next(iter(providers.HARDWARE().find()), None)
    except EdgeDepthError as error:
        no_gpu = str(error)
    provider, reason = providers.choose_builder(options.provider, None if options.sms else gpu)
    return BuilderHere(provider, gpu, "; ".join(filter(None, (reason, no_gpu if provider is None else ""))))


def build_bundle(bundle: Bundle, out: Path, options: EngineOptions, *, progress: Progress = silent) -> Bundle:
    """Build engines from a bundle's graphs, for this machine or ahead of time.

    Args:
        bundle: of target "tensorrt" (a kit) or "onnx"; whatever precision its graphs are typed in.
        out: where the bundle with engines goes; the kit's own folder is replaced atomically.
        options: provider, SMs, and what overrides the kit's recipe.
        progress: told of each stage and phase.

    Raises:
        OptionError: a bundle of another target.
        DeviceError: nobody can build here.
        ExportFailedError: a graph holds what TensorRT refuses, or doesn't build.
    """
    _check_target(bundle)
    builder = builder_here(options)
    if builder.provider is None:
        raise DeviceError(
            f"no engine can be built on this machine: {builder.reason}",
            remedy="copy the bundle to the device and run 'edgedepth build' there; edgedepth doctor tells more",
        )
    return add_engines(bundle, out, builder, _over_recipe(options, bundle.manifest.build), progress=progress)


def add_engines(
    bundle: Bundle, out: Path, builder: BuilderHere, options: EngineOptions, *, progress: Progress = silent
) -> Bundle:
    """build_bundle, once it is known who builds."""
    provider, manifest = builder.provider, bundle.manifest
    assert provider is not None
    steps = len(manifest.artefacts) + 1
    engines = []
    with naming(bundle.path, options.build.dla_core), write_bundle(out) as writer:
        _copy(bundle, writer, replaced=out.resolve() == bundle.path.resolve())
        for number, (stage, artefact) in enumerate(manifest.artefacts.items()):
            step = f"engine of {stage}"
            progress(step, number, steps)
            path = writer.folder / artefact.path
            if is_installed("onnx"):
                refuse_findings(path, remedy="they are listed by: edgedepth build BUNDLE --check-only")
            graph = Graph(
                stage=artefact.stage,
                onnx=path,
                sha256=onnx_digest(manifest, stage),
                precision=manifest.precision,
            )
            plan, facts = build_engine(graph, provider, builder.gpu, options, _within(progress, step, number, steps))
            facts = replace(facts, path=f"{artefact.path.rpartition('/')[0]}/{facts.path}")
            (writer.folder / facts.path).write_bytes(plan)
            del plan  # hundreds of megabytes
            log.info("%s: %.1f s, %.1f MB, peak %s MB", step, facts.build_s, facts.size / 1e6, facts.peak_rss_mb)
            engines.append(facts)
        progress("hashing", steps - 1, steps)
        writer.finish(_with_engines(manifest, engines, writer, provider, options))
    progress("built", steps, steps)
    return open_bundle(out, check_hashes=False)


def check_graphs(bundle: Bundle) -> dict[str, list[Finding]]:
    """What TensorRT would refuse or compute wrongly, by stage.

    Raises:
        OptionError: a bundle of another target.
        MissingExtraError: onnx isn't installed.
    """
    _check_target(bundle)
    return {stage: lint_file(bundle.file(artefact.path)) for stage, artefact in bundle.manifest.artefacts.items()}


def refuse_findings(path: Path, *, remedy: str = "use --target onnx for other runtimes, and report this line") -> None:
    """Refuse a graph that TensorRT would refuse or compute wrongly.

    Args:
        path: of the .onnx.
        remedy: for the message; by default that of a graph that no bundle holds yet.

    Raises:
        ExportFailedError: the first finding, and how many there are.
    """
    if findings := lint_file(path):
        raise ExportFailedError(
            f"{path.name} has {len(findings)} places that TensorRT refuses or computes wrongly, first {findings[0]}",
            remedy=remedy,
        )


def proven_here(bundle: Bundle) -> str:
    """What was shown on this machine about a TensorRT bundle, and what only the device can show."""
    own = bundle.manifest.engines
    rtx = [engine for engine in own if engine.device is None]
    built = [engine for engine in own if engine.device is not None]
    parts = ["every graph is valid ONNX, and holds nothing that TensorRT is known to refuse or to fuse wrongly"]
    if rtx:
        sms = ", ".join(map(str, rtx[0].sms))
        parts.append(
            f"{rtx[0].provider} {rtx[0].version} compiled every stage for SM {sms} without a GPU, and no engine has run"
        )
    if built:
        parts.append(f"{built[0].provider} {built[0].version} built every stage on {built[0].device}")
    if not own:
        parts.append("no engine was built: this is a build kit")
    missing = "" if built else f"; run '{build_command(bundle.path)}' on the device for an engine of its own"
    return (
        f"Proven here: {'; '.join(parts)}. Left to the device: that its TensorRT computes the same depth. "
        f"EdgeDepth runs the bundle's golden frame there before it serves, and refuses an engine that differs{missing}."
    )


def _check_target(bundle: Bundle) -> None:
    if bundle.manifest.target not in ("tensorrt", "onnx"):
        raise OptionError(
            f"{bundle.path} is for {bundle.manifest.target}; engines are built from bundles of tensorrt and onnx",
            remedy=f"edgedepth export --model {bundle.manifest.model.name} --target tensorrt --fp16",
        )


def _copy(bundle: Bundle, writer: BundleWriter, *, replaced: bool) -> None:
    """The kit's files. Where the kit is about to be replaced, links do: gigabytes that are never written again.

    Beside a kit that stays they don't: onnx refuses weights that have a second name.
    """
    for name in bundle.manifest.files:
        target = writer.folder / name
        target.parent.mkdir(exist_ok=True)
        if replaced:
            with contextlib.suppress(OSError):  # a file system without links
                os.link(bundle.file(name), target)
                continue
        shutil.copyfile(bundle.file(name), target)


def _with_engines(
    manifest: Manifest, built: list[EngineFacts], writer: BundleWriter, provider: TensorRt, options: EngineOptions
) -> Manifest:
    """The manifest with the new engines; older ones for the same machines go, others stay."""

    def key(engine: EngineFacts) -> tuple[object, ...]:
        return engine.stage.name, engine.provider, engine.sms, engine.device, engine.options.dla_core

    new = {key(engine) for engine in built}
    paths = {engine.path for engine in built}
    kept = [engine for engine in manifest.engines if key(engine) not in new]
    for engine in manifest.engines:
        if engine not in kept and engine.path not in paths:
            with contextlib.suppress(OSError):
                (writer.folder / engine.path).unlink()
    return replace(
        manifest,
        target="tensorrt",
        engines=(*kept, *built),
        build=without_dla(options.build),
        files=writer.file_entries(),
        toolchain=manifest.toolchain | {provider.provider: provider.version},
    )


def without_dla(build: BuildOptions) -> BuildOptions:
    """A recipe as a bundle keeps it: the DLA is asked for each time, or nobody could ask for the GPU again."""
    return replace(build, dla_core=None)


def _over_recipe(options: EngineOptions, recipe: BuildOptions | None) -> EngineOptions:
    """What was asked for now, and for the rest what the kit says."""
    if recipe is None:
        return options
    asked = options.build
    workspace_mb = recipe.workspace_mb if asked.workspace_mb is None else asked.workspace_mb
    level = recipe.optimization_level if asked.optimization_level is None else asked.optimization_level
    return replace(options, build=replace(asked, workspace_mb=workspace_mb, optimization_level=level))


def _within(progress: Progress, step: str, number: int, steps: int) -> Progress:
    """The builder's phases as details of one step of ours."""

    def tell(phase: str, done: int, total: int, /) -> None:
        progress(f"{step}: {phase} {done}/{total}", number, steps)

    return tell
