"""Which bundle is meant: from what a caller asked for to a folder, or to one line that says what is missing."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import get_args

from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.errors import BundleNotFoundError, OptionError
from edgedepth.core.pack import Pack, is_pack, open_pack
from edgedepth.core.signing import trusted_key_of_environment
from edgedepth.core.spec import Precision
from edgedepth.core.store import bundles_folder, stored
from edgedepth.core.targets import ALIASES, PRECISIONS, exists_on
from edgedepth.fitting import choose_member, fits_of
from edgedepth.models.registry import MODELS
from edgedepth.runtimes.base import BACKENDS, SessionOptions

__all__ = ["choose_bundle", "export_command", "names_bundle", "target_named"]

log = logging.getLogger("edgedepth")


def target_named(backend: str) -> str | None:
    """The target whose bundles a backend runs; None for "auto".

    Raises:
        OptionError: no backend is called that.
    """
    backend = ALIASES.get(backend, backend)
    if backend == "auto":
        return None
    if backend not in BACKENDS:
        raise OptionError(
            f"there is no backend {backend!r}; allowed are auto, torch, {', '.join(BACKENDS)}",
            remedy="edgedepth doctor lists what runs here",
        )
    return backend


def names_bundle(model: str | os.PathLike[str] | None) -> bool:
    """Whether `model` is a path and not the name of a model. A name of the registry is never a path."""
    if model is None or model in MODELS:
        return False
    return isinstance(model, os.PathLike) or os.sep in model or "/" in model or Path(model).exists()


def choose_bundle(
    model: str | os.PathLike[str] | None,
    backend: str,
    precision: Precision | None,
    trusted_key: str | None = None,
    options: SessionOptions | None = None,
) -> Bundle:
    """The bundle to run.

    Args:
        model: a bundle's or a pack's folder, the name of a model, or None for any model.
        backend: "auto", or the one that shall run it.
        precision: None for any.
        trusted_key: a minisign public key that must have signed it; None: EDGEDEPTH_TRUSTED_KEY's, if there is one.
        options: how it shall be opened: of a pack the bundle is taken that runs on that device.

    Returns:
        The bundle at that path, or the one of the pack there that fits this machine; else the newest bundle of the
        store that fits, and the log says which.

    Raises:
        SignatureError: it isn't signed with the trusted key.
        BundleNotFoundError: none fits; the remedy is the export command that makes one.
        BundleError: the one at that path can't be used.
        OptionError: an unknown name, or a bundle that isn't what backend and precision ask for.
    """
    target = target_named(backend)
    if not isinstance(model, str | os.PathLike | None):
        raise OptionError(
            f"model is {model!r}; allowed are a path and a name", remedy="edgedepth models lists the names"
        )
    if precision is not None and precision not in get_args(Precision):
        raise OptionError(
            f"precision is {precision!r}; allowed are {', '.join(get_args(Precision))}", remedy="or leave it out"
        )
    key = trusted_key_of_environment() if trusted_key is None else trusted_key
    if names_bundle(model):
        return _at_path(Path(str(model)), target, precision, key, options or SessionOptions())
    if model is not None and model not in MODELS:
        raise OptionError(
            f"{str(model)!r} is neither a bundle's folder nor a model; models are {', '.join(MODELS)}",
            remedy="edgedepth models lists them; edgedepth export writes bundles",
        )
    return _newest(None if model is None else str(model), target, precision, key, options or SessionOptions())


def _at_path(
    path: Path, target: str | None, precision: Precision | None, key: str | None, options: SessionOptions
) -> Bundle:
    if is_pack(path):
        return _of_pack(open_pack(path, trusted_key=key), target, precision, options)
    bundle = open_bundle(path, trusted_key=key)
    manifest = bundle.manifest
    for what, asked, got in (("target", target, manifest.target), ("precision", precision, manifest.precision)):
        if asked is not None and asked != got:
            raise OptionError(
                f"{path} has {what} {got}; {asked} was asked for",
                remedy=export_command(manifest.model.name, target or manifest.target, precision),
            )
    return bundle


def _of_pack(pack: Pack, target: str | None, precision: Precision | None, options: SessionOptions) -> Bundle:
    """The pack's list was signed, if a key is trusted, and holds the hash of each manifest."""
    choice = choose_member(pack, target, precision, fits_of(pack, options))
    log.info("of %d bundles in %s: %s, on %s", len(pack.manifests), pack.path, choice.name, choice.fit.reason)
    return pack.bundle(choice.name)


def _newest(
    model: str | None, target: str | None, precision: Precision | None, key: str | None, options: SessionOptions
) -> Bundle:
    targets = (target,) if target else tuple(name for name in BACKENDS if exists_on(name))
    for place in stored():
        fits = any(
            manifest.target in targets
            and model in (None, manifest.model.name)
            and precision in (None, manifest.precision)
            for manifest in place.manifests
        )
        if fits:
            log.info("using the newest fitting bundle of the store: %s", place.path)
            _warn_of_demonstration(place.model, asked=model)
            return _at_path(place.path, target, precision, key, options)
    wanted = " ".join(part for part in (target, precision, model) if part)
    raise BundleNotFoundError(
        f"there is no {wanted + ' ' if wanted else ''}bundle in {bundles_folder()}",
        remedy=export_command(model or "depth-pro", target, precision),
    )


def _warn_of_demonstration(name: str, *, asked: str | None) -> None:
    """Nobody shall drive a robot by a demonstration that was merely the newest bundle."""
    entry = MODELS.get(name)
    if asked is None and entry is not None and entry.demonstration:
        log.warning("no model was named, and the newest bundle is %s: %s", name, entry.note)


def export_command(model: str, target: str | None, precision: Precision | None) -> str:
    """The command that makes such a bundle; without a target, the first that has the precision."""
    if precision == "int8":
        return f"edgedepth export --model {model} --target {target or 'onnx'} --int8 --calib SET"
    if precision == "fp8":
        return f"edgedepth export --model {model} --target tensorrt --fp8 --calib SET"
    if target is None:
        target = next((name for name, able in PRECISIONS.items() if precision in (None, *able)), "onnx")
    # Only what can be exported is worth a command.
    default = "fp16" if target == "tensorrt" else PRECISIONS[target][0]
    flag = precision if precision in PRECISIONS[target] else default
    return f"edgedepth export --model {model} --target {target} --{flag}"
