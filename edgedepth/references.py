"""What a bundle is compared with: the eager reference, another bundle, or what the bundle itself has stored."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from edgedepth.core.bundle import Bundle
from edgedepth.core.errors import MissingExtraError, UnsupportedError, WeightsError, WeightsMismatchError
from edgedepth.core.optional import require
from edgedepth.core.progress import Announce
from edgedepth.core.session import OpenStage, Session
from edgedepth.core.spec import DEFAULT_TILE_BATCH
from edgedepth.models.loading import LoadedModel, load_model
from edgedepth.off_device import proving_backend
from edgedepth.programs.opening import open_program, proof_of
from edgedepth.programs.stages import StagePool
from edgedepth.runtimes.base import SessionOptions
from edgedepth.verify.eight_bits import EightBitSession
from edgedepth.verify.parity import OFF_DEVICE, Predictor
from edgedepth.verify.parity_report import EAGER

__all__ = [
    "UNREACHABLE",
    "Candidate",
    "Reference",
    "bundle_reference",
    "eager_reference",
    "load_reference",
    "open_candidate",
]

log = logging.getLogger("edgedepth")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A bundle that is opened to be compared.

    Args:
        bundle: what it is.
        sessions: its stages; they belong to whoever opened them.
        open_program: the bundle's program over given sessions.
        program: that over its own.
        where: what computes it: ON_DEVICE or OFF_DEVICE.
    """

    bundle: Bundle
    sessions: StagePool
    open_program: Callable[[OpenStage], Predictor]
    program: Predictor
    where: str

    @property
    def stage_names(self) -> tuple[str, ...]:
        """In the order in which a frame meets them."""
        return tuple(stage.name for stage in self.bundle.manifest.model.stages)

    @property
    def runtime(self) -> str:
        """What runs it, in words."""
        backend, _ = proving_backend(self.bundle.manifest.target)
        version = backend.availability().version
        return f"{backend.name} {version or ''} on {self.sessions.session(self.stage_names[0]).device}".replace(
            "  ", " "
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What is right.

    Args:
        name: for the report.
        program: predicts whole frames.
        open_stage: opens its stages; None where they can't stand beside the candidate's.
        note: why not, or what else a reader has to know; empty where there is nothing.
        loaded: the model, where it is the eager one.
        rounded: its stages in the bundle's program, on pictures of 8 bits, where the bundle takes such.
    """

    name: str
    program: Predictor
    open_stage: OpenStage | None
    note: str = ""
    loaded: LoadedModel | None = None
    rounded: Predictor | None = None


def open_candidate(bundle: Bundle, device: str, stack: ExitStack, announce: Announce) -> Candidate:
    """Open a bundle on the backend that verifies it here; `stack` closes it.

    Raises:
        DeviceError, MissingExtraError, BundleError: as their names say.
    """
    manifest = bundle.manifest
    options = SessionOptions(device=device)
    backend, where = proving_backend(manifest.target)
    if where == OFF_DEVICE:
        announce(
            f"{OFF_DEVICE}: this machine has no runtime of {manifest.target}, so the packages are evaluated: it proves "
            "graph, weights, names, shapes and dtypes, and not that a device loads them, where it places them, or speed"
        )
        log.info("%s: %s", OFF_DEVICE, bundle.path)
    # One set of the bundle's sessions, for the comparison by stages and for the one end to end.
    sessions = stack.enter_context(StagePool(lambda stage: backend.open(bundle, stage, options)))

    def program(open_stage: OpenStage) -> Predictor:
        pool = stack.enter_context(StagePool(open_stage))
        tile_batch = manifest.tile_batch or DEFAULT_TILE_BATCH
        return proof_of(open_program(manifest.model, pool, layout=manifest.layout, tile_batch=tile_batch))

    return Candidate(
        bundle=bundle, sessions=sessions, open_program=program, program=program(sessions.session), where=where
    )


def eager_reference(candidate: Candidate, weights: str | Path | None, announce: Announce) -> Reference:
    """The eager fp32 reference, on the very weights that the bundle was made from.

    Raises:
        MissingExtraError: torch isn't installed.
        WeightsError: the weights aren't here, or aren't the bundle's.
    """
    loaded = load_reference(candidate.bundle, weights, announce)
    from edgedepth.runtimes.torch_reference import EagerReference
    from edgedepth.runtimes.torch_session import reference_stages

    stages = reference_stages(loaded)

    pictures: dict[str, frozenset[str]] = {
        name: getattr(candidate.sessions.session(name), "pictures", frozenset()) for name in candidate.stage_names
    }

    def open_stage(stage: str) -> Session:
        return EightBitSession(stages(stage), pictures[stage]) if pictures[stage] else stages(stage)

    # A picture input rounds what was resized. That is no fault of the graphs, and would hide theirs.
    rounded = candidate.open_program(open_stage) if any(pictures.values()) else None
    return Reference(name=EAGER, program=EagerReference(loaded), open_stage=open_stage, loaded=loaded, rounded=rounded)


def bundle_reference(
    candidate: Candidate, against: Bundle, device: str, stack: ExitStack, announce: Announce
) -> Reference:
    """Another bundle of the same model.

    Raises:
        UnsupportedError: it is of another model.
        DeviceError, MissingExtraError, BundleError: as open_candidate.
    """
    mine, theirs = candidate.bundle.manifest, against.manifest
    if mine.model.name != theirs.model.name:
        raise UnsupportedError(
            f"{against.path} is {theirs.model.name} and {candidate.bundle.path} is {mine.model.name}: two models "
            "differ in everything",
            remedy="compare each with the truth: edgedepth eval DATASET --bundle BUNDLE",
        )
    notes = []
    if mine.model.weights_sha256 != theirs.model.weights_sha256:
        notes.append(f"{against.path} was made of other weights ({theirs.model.source}), which differ too")
    opened = open_candidate(against, device, stack, announce)
    fits = mine.layout == theirs.layout and _borders(candidate.bundle) == _borders(against)
    if not fits:
        notes.append("stages aren't compared: the two bundles cut the model differently (layout, or tile batch)")
    return Reference(
        name=f"{theirs.target} {theirs.precision} bundle {against.path}",
        program=opened.program,
        open_stage=opened.sessions.session if fits else None,
        note="; ".join(notes),
    )


def load_reference(bundle: Bundle, weights: str | Path | None, announce: Announce) -> LoadedModel:
    """The reference model, on the very weights that a bundle was made from.

    Raises:
        MissingExtraError: torch isn't installed.
        WeightsError: as eager_reference.
    """
    require("torch", extra="export", purpose="to compare with the reference")
    spec = bundle.manifest.model
    if weights is None and spec.source.startswith("random:"):
        weights = spec.source
    if weights is None and spec.source.startswith("local "):
        raise WeightsMismatchError(
            f"{bundle.path} was made from a file of yours, {spec.source.removeprefix('local ')}, and the reference "
            "needs it too",
            remedy="name it: --weights PATH",
        )
    loaded = load_model(spec.name, weights=weights, announce=announce)
    if spec.family == "zoedepth":  # the input's size was chosen at export
        own = replace(loaded.spec, preprocess=spec.preprocess, stages=spec.stages)
        loaded = replace(loaded, spec=own)
    if loaded.spec.weights_sha256 != spec.weights_sha256:
        raise WeightsMismatchError(
            f"{bundle.path} was made from weights {spec.weights_sha256[:12]}… ({spec.source}); "
            f"the reference has {loaded.spec.weights_sha256[:12]}… ({loaded.spec.source})",
            remedy="pass the bundle's own checkpoint: --weights PATH",
        )
    return loaded


UNREACHABLE = (MissingExtraError, WeightsError)
"""Why a reference isn't there: no torch, or no weights."""


def _borders(bundle: Bundle) -> dict[str, tuple[object, ...]]:
    return {name: artefact.stage.inputs for name, artefact in bundle.manifest.artefacts.items()}
