"""What runs: a bundle, or the reference itself, as stages to open."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from edgedepth.choosing import choose_bundle, export_command, names_bundle
from edgedepth.core.bundle import Bundle
from edgedepth.core.errors import OptionError
from edgedepth.core.optional import require
from edgedepth.core.pack import is_pack
from edgedepth.core.session import OpenStage, Session
from edgedepth.core.spec import Layout, ModelSpec, Precision
from edgedepth.models.registry import DEFAULT_MODEL
from edgedepth.runtimes.base import Backend, SessionOptions, backend_named
from edgedepth.runtimes.kserve_session import KServeBackend

__all__ = ["Source", "open_source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Stages that can be opened, and what is known of them.

    Args:
        spec: the model.
        backend: "onnx", "openvino", ..., or "torch".
        layout: "staged" or "single".
        tile_batch: what the artefact was exported for; None: any.
        open_stage: opens a stage by name.
        bundle: None for the reference.
        runtime: that opens the bundle's stages; None for the reference.
    """

    spec: ModelSpec
    backend: str
    layout: Layout
    tile_batch: int | None
    open_stage: OpenStage
    bundle: Bundle | None
    runtime: Backend | None = None

    @property
    def first_stage(self) -> str:
        """The stage that a frame meets first."""
        return self.spec.stages[0].name


def open_source(
    model: str | os.PathLike[str] | None,
    *,
    backend: str,
    precision: Precision | None,
    weights: str | Path | None,
    options: SessionOptions,
    trusted_key: str | None = None,
    url: str | None = None,
) -> Source:
    """Choose a bundle, or load the reference; nothing is opened on a device yet.

    Raises:
        OptionError, BundleError, WeightsError, MissingExtraError: as EdgeDepth says.
    """
    if backend == "torch":
        return _reference(model, precision, weights, options)
    if weights is not None:
        raise OptionError(
            "a bundle holds its weights; others can't be given to it",
            remedy="edgedepth export --weights PATH makes a bundle of them, backend='torch' runs the reference on them",
        )
    served = backend == "triton"
    if served != (url is not None):
        raise OptionError(
            "backend 'triton' and a server's url belong together",
            remedy="EdgeDepth(BUNDLE, backend='triton', url='host:8001')",
        )
    if served and names_bundle(model) and is_pack(Path(str(model))):
        raise OptionError(
            f"{model} is a pack, and a server holds one bundle's stages", remedy=f"name that one: {model}/targets/NAME"
        )
    bundle = choose_bundle(model, "auto" if served else backend, precision, trusted_key, options)
    manifest = bundle.manifest
    runtime: Backend = KServeBackend(url) if url is not None else backend_named(manifest.target)

    def open_stage(stage: str) -> Session:
        with ExitStack() as opened:
            with bundle.held_still():
                session = opened.enter_context(closing(runtime.open(bundle, stage, options)))
            opened.pop_all()
        return session

    return Source(
        spec=manifest.model,
        backend=runtime.name,
        layout=manifest.layout,
        tile_batch=manifest.tile_batch,
        open_stage=open_stage,
        bundle=bundle,
        runtime=runtime,
    )


def _reference(
    model: str | os.PathLike[str] | None,
    precision: Precision | None,
    weights: str | Path | None,
    options: SessionOptions,
) -> Source:
    require("torch", extra="export", purpose="to run the reference")
    from edgedepth.models.loading import load_model
    from edgedepth.runtimes.torch_session import reference_stages

    if names_bundle(model):
        raise OptionError(
            f"{model} is a bundle; the torch backend runs the reference, from a model's name",
            remedy="leave backend out to run the bundle, or pass model='depth-pro-mini'",
        )
    if precision not in (None, "fp32"):
        command = export_command(str(model or DEFAULT_MODEL), None, precision)
        raise OptionError(
            f"the reference is fp32; {precision} was asked for",
            remedy=f"leave precision out, or run a bundle: {command}",
        )
    loaded = load_model(str(model or DEFAULT_MODEL), weights)
    return Source(
        spec=loaded.spec,
        backend="torch",
        layout="staged",
        tile_batch=None,
        open_stage=reference_stages(loaded, options),
        bundle=None,
    )
