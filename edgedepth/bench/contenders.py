"""Who takes part in a benchmark: bundles by folder or from the store, and peers beside them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgedepth.choosing import export_command, target_named
from edgedepth.core.bundle import Bundle, peek_manifest
from edgedepth.core.errors import BundleNotFoundError, OptionError
from edgedepth.core.hashing import sha256_files
from edgedepth.core.runs import Entry
from edgedepth.core.store import bundles_folder, stored_bundles
from edgedepth.models.registry import DEFAULT_MODEL
from edgedepth.verify_run import provenance_of

__all__ = ["PEERS", "Contender", "bundle_entry", "choose_contenders"]

PEERS = ("torch",)
"""What can run beside the bundles: the eager fp32 reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One that is timed; plain values, so that it can be sent to a process of its own.

    Args:
        name: one of its kind in a run: "onnx fp32".
        model: its name.
        target: "onnx", or "torch" for the reference.
        precision: of the arithmetic.
        bundle: its folder; None for the reference.
        weights: of the reference.
        device: where it shall run.
        fingerprint: of the manifest: another bundle in the same folder is another contender.
    """

    name: str
    model: str
    target: str
    precision: str
    bundle: str | None = None
    weights: str | None = None
    device: str = "auto"
    fingerprint: str = ""


def choose_contenders(
    bundles: Sequence[str | os.PathLike[str]] = (),
    *,
    backend: str = "auto",
    model: str | None = None,
    device: str = "auto",
    peers: Sequence[str] = (),
    weights: str | None = None,
) -> list[Contender]:
    """The bundles that are named; without any, all of the store that fit, and the peers of their models.

    Args:
        bundles: folders.
        backend: take the store's bundles of this one only; "auto" takes all.
        model: take the store's bundles of this model only.
        device: where bundles run.
        peers: some of PEERS.
        weights: the peers' checkpoint; None: as export finds it.

    Raises:
        BundleNotFoundError: the store has none that fits; the remedy is the command that makes one.
        BundleError: a folder that is no bundle.
        OptionError: an unknown backend or peer, or one that doesn't go with named bundles.
    """
    target = target_named(backend)
    for peer in peers:
        if peer not in PEERS:
            raise OptionError(f"there is no peer {peer!r}; allowed are {', '.join(PEERS)}", remedy="--peer torch")
    if bundles:
        found = [Bundle(Path(path), peek_manifest(Path(path))) for path in bundles]
        for bundle in found if target else ():
            if bundle.manifest.target != target:
                raise OptionError(
                    f"{bundle.path} is for {bundle.manifest.target}; {target} was asked for",
                    remedy="leave --backend out, or name other bundles",
                )
    else:
        found = [
            bundle
            for bundle in reversed(stored_bundles())
            if target in (None, bundle.manifest.target) and model in (None, bundle.manifest.model.name)
        ]
        if not found:
            wanted = " ".join(word for word in (target, model) if word)
            raise BundleNotFoundError(
                f"there is no {wanted + ' ' if wanted else ''}bundle in {bundles_folder()} to time",
                remedy=export_command(model or DEFAULT_MODEL, target, None),
            )
    contenders = [_of_bundle(bundle, device) for bundle in found]
    if "torch" in peers:
        models = {bundle.manifest.model.name: bundle.manifest.model.source for bundle in found}
        contenders += [
            Contender(
                name="torch eager",
                model=name,
                target="torch",
                precision="fp32",
                weights=weights or (source if source.startswith("random:") else None),
                device="cpu",
            )
            for name, source in models.items()
        ]
    return _told_apart(contenders)


def bundle_entry(name: str, bundle: Bundle) -> Entry:
    """What a run says of a bundle before anything is measured."""
    manifest = bundle.manifest
    return Entry(
        name=name,
        model=manifest.model.name,
        target=manifest.target,
        precision=manifest.precision,
        status="unproven",
        bundle=str(bundle.path),
        size_bytes=bundle.size,
        provenance=provenance_of(bundle),
    )


def _of_bundle(bundle: Bundle, device: str) -> Contender:
    manifest = bundle.manifest
    return Contender(
        name=f"{manifest.target} {manifest.precision}",
        model=manifest.model.name,
        target=manifest.target,
        precision=manifest.precision,
        bundle=str(bundle.path.resolve()),
        device=device,
        fingerprint=sha256_files([bundle.file("manifest.json")])[0][:16],
    )


def _told_apart(contenders: list[Contender]) -> list[Contender]:
    """Names with as much in them as is needed: the model where there are several, then the folder."""
    if len({one.model for one in contenders}) > 1:
        contenders = [replace(one, name=f"{one.model} {one.name}") for one in contenders]
    counts = Counter(one.name for one in contenders)
    contenders = [
        replace(one, name=f"{one.name} {Path(one.bundle).name}") if counts[one.name] > 1 and one.bundle else one
        for one in contenders
    ]
    counts = Counter(one.name for one in contenders)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise OptionError(
            f"{twice[0]} takes part twice under one name: the same bundle, or two folders of one name",
            remedy="name each bundle once, or rename a folder",
        )
    return contenders
