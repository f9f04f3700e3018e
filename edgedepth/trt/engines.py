"""Engines on the disk: which one fits this machine, why another doesn't, and the cache of those built here.

An engine is code, so its SHA-256 and everything else that its sidecar says is compared before TensorRT sees a byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
from collections.abc import Iterator
from pathlib import Path

from edgedepth.core.bundle import Bundle
from edgedepth.core.engine import BuildOptions, EngineFacts
from edgedepth.core.errors import EdgeDepthError, EngineError
from edgedepth.core.files import write_file
from edgedepth.core.manifest import Manifest
from edgedepth.core.plain import from_plain, to_plain
from edgedepth.core.store import cache_folder

__all__ = [
    "build_command",
    "bundle_engine",
    "cached_engine",
    "keep",
    "mismatch",
    "naming",
    "onnx_digest",
    "read_plan",
    "wanted_engine",
]


def build_command(path: Path, dla_core: int | None = None) -> str:
    """The command that builds a bundle's engines on this machine."""
    dla = "" if dla_core is None else f" --dla {dla_core}"
    return f"edgedepth build {shlex.quote(str(path))}{dla}"


@contextlib.contextmanager
def naming(path: Path, dla_core: int | None = None) -> Iterator[None]:
    """Put a bundle's path into the remedies of those who don't know it: "edgedepth build BUNDLE" becomes a command."""
    try:
        yield
    except EdgeDepthError as error:
        command = build_command(path, dla_core)
        remedy = error.remedy.replace("edgedepth build BUNDLE", command)
        if remedy == error.remedy:
            raise
        raise type(error)(error.problem, remedy=remedy) from error


def onnx_digest(manifest: Manifest, stage: str) -> str:
    """The SHA-256 that names a stage's graph and weights: of the digests of all its files, as the manifest has them."""
    folder = manifest.artefacts[stage].path.rpartition("/")[0]
    plans = {engine.path for engine in manifest.engines}
    lines = [
        f"{entry.sha256}  {name}\n"
        for name, entry in sorted(manifest.files.items())
        if name.rpartition("/")[0] == folder and name not in plans
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def wanted_engine(
    manifest: Manifest, stage: str, *, provider: str, version: str, sm: int, device: str, dla_core: int | None
) -> EngineFacts:
    """What an engine of this stage has to be to run here; its path, hash, size, times and memory don't count."""
    return EngineFacts(
        stage=manifest.artefacts[stage].stage,
        path="",
        sha256="",
        size=0,
        provider=provider,
        version=version,
        sms=(sm,),
        device=device,
        precision=manifest.precision,
        onnx_sha256=onnx_digest(manifest, stage),
        options=BuildOptions(dla_core=dla_core),
        build_s=0.0,
        peak_rss_mb=None,
    )


def mismatch(found: EngineFacts, wanted: EngineFacts) -> str:
    """Why an engine can't run here, in words; empty when it can."""
    (sm,) = wanted.sms
    sms = ", ".join(map(str, found.sms))
    checks = (
        (found.provider != wanted.provider, f"it was built by {found.provider}; here is {wanted.provider}"),
        (
            found.version != wanted.version,
            f"it was built by {found.provider} {found.version}; here is {wanted.version}",
        ),
        (sm not in found.sms, f"it is for SM {sms}; {wanted.device} has SM {sm}"),
        (
            # The same SM on another board has other memory and other clocks: kernels were chosen by measuring.
            found.device is not None and found.device != wanted.device,
            f"it was built on {found.device}; here is {wanted.device}",
        ),
        (found.precision != wanted.precision, f"it computes in {found.precision}; the bundle is {wanted.precision}"),
        (found.onnx_sha256 != wanted.onnx_sha256, "it was built from another graph or other weights"),
        (found.stage != wanted.stage, "it has other inputs or outputs than the bundle declares"),
        (
            found.options.dla_core != wanted.options.dla_core,
            f"it is for {_core(found.options.dla_core)}; asked for is {_core(wanted.options.dla_core)}",
        ),
    )
    return next((reason for differs, reason in checks if differs), "")


def read_plan(path: Path, facts: EngineFacts, *, rebuild: str) -> bytes:
    """A plan's bytes, once they are what the sidecar says.

    Args:
        path: of the plan.
        facts: its sidecar.
        rebuild: the command that builds it again, for the message.

    Raises:
        EngineError: missing, unreadable, cut short, or of another hash.
    """
    try:
        plan = path.read_bytes()
    except OSError as error:
        raise EngineError(f"{path} can't be read: {error.strerror}", remedy=rebuild) from error
    if len(plan) != facts.size:
        raise EngineError(f"{path} has {len(plan)} bytes; {facts.size} were written", remedy=rebuild)
    if (digest := hashlib.sha256(plan).hexdigest()) != facts.sha256:
        raise EngineError(
            f"{path} has SHA-256 {digest[:12]}…; {facts.sha256[:12]}… was written. A plan is code, so it is not loaded",
            remedy=rebuild,
        )
    return plan


def cached_engine(wanted: EngineFacts) -> tuple[EngineFacts, Path] | None:
    """An engine that was built here before, with the path of its plan; None when there is none that fits."""
    sidecar = _place(wanted) / "engine.json"
    with contextlib.suppress(OSError, ValueError):
        facts = from_plain(EngineFacts, json.loads(sidecar.read_text(encoding="utf-8")), where="engine")
        if not mismatch(facts, wanted):
            return facts, sidecar.parent / facts.path
    return None


def keep(facts: EngineFacts, plan: bytes | memoryview, wanted: EngineFacts) -> Path:
    """Put a freshly built engine into the cache; returns the path of its plan.

    The plan is named by its hash and the sidecar is renamed into place after it: two processes that build the same
    engine leave one sidecar and a plan that belongs to it.

    Raises:
        OutputError: the cache can't be written.
    """
    folder = _place(wanted)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)  # write_file tells what is wrong
    path = write_file(folder / facts.path, plan)
    write_file(folder / "engine.json", (json.dumps(to_plain(facts), indent=2) + "\n").encode())
    return path


def _place(wanted: EngineFacts) -> Path:
    """By graph, version, SM and precision, and by what else tells engines apart."""
    key = (
        f"{wanted.onnx_sha256} {wanted.provider} {wanted.version} {wanted.sms} {wanted.device} {wanted.precision} "
        f"{wanted.options.dla_core}"
    )
    name = f"{wanted.stage.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    return cache_folder() / "tensorrt" / name


def _core(dla_core: int | None) -> str:
    return "the GPU" if dla_core is None else f"DLA core {dla_core}"


def bundle_engine(bundle: Bundle, wanted: EngineFacts) -> tuple[EngineFacts | None, str]:
    """The bundle's own engine for this machine; or None, and why none of those it has will do."""
    own = [engine for engine in bundle.manifest.engines if engine.stage.name == wanted.stage.name]
    reasons = []
    for engine in own:
        reason = mismatch(engine, wanted)
        if not reason:
            return engine, ""
        reasons.append(f"{engine.path}: {reason}")
    return None, "; ".join(reasons) or "the bundle holds the graph and no engine"
