"""Making a pack of bundles: what may lie side by side, what each is called, and the copy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from edgedepth.core.bundle import DROPPINGS, TARGETS, Bundle, manifest_bytes
from edgedepth.core.errors import OptionError
from edgedepth.core.folders import replace_folder
from edgedepth.core.manifest import Manifest
from edgedepth.core.pack import FOLDER, Pack, digest_of, is_replaceable, open_pack, render_index

__all__ = ["write_pack"]


def write_pack(bundles: Sequence[Bundle], out: str | os.PathLike[str]) -> Pack:
    """Copy bundles into a pack, whole or not at all.

    Args:
        bundles: of one model and the same weights, the preferred ones first; opened with their hashes checked.
        out: the pack's folder. A pack that stands there is replaced.

    Raises:
        OptionError: none, bundles of several models, or two of which the second would never be chosen.
        BundleTamperedError: a file changed while it was copied.
        OutputError, BundleBusyError: the folder can't be written, or holds something else.
    """
    if not bundles:
        raise OptionError("a pack of no bundles was asked for", remedy="edgedepth pack BUNDLE BUNDLE --out DIR")
    _refuse_mixture(bundles)
    _refuse_twins(bundles)
    target = Path(os.path.realpath(out))
    if inside := [one.path for one in bundles if target in (one.path.resolve(), *one.path.resolve().parents)]:
        raise OptionError(f"{out} holds {inside[0]}, which is to be packed", remedy="choose another folder with --out")
    names = _names(bundles)
    with replace_folder(Path(out), ours=is_replaceable) as work:
        for name, bundle in zip(names, bundles, strict=True):
            with bundle.held_still():
                shutil.copytree(bundle.path, work / FOLDER / name, ignore=shutil.ignore_patterns(*DROPPINGS))
        digests = {name: digest_of(manifest_bytes(work / FOLDER / name)) for name in names}
        (work / TARGETS).write_bytes(render_index(digests))
        pack = open_pack(work)
        for name in names:
            pack.bundle(name)  # hashed again: what was copied is what was read
    return open_pack(out)


def _refuse_mixture(bundles: Sequence[Bundle]) -> None:
    first = bundles[0]
    for other in bundles[1:]:
        one, two = first.manifest.model, other.manifest.model
        for what, ours, theirs in (
            ("model", one.name, two.name),
            ("weights", one.weights_sha256[:12], two.weights_sha256[:12]),
        ):
            if ours != theirs:
                raise OptionError(
                    f"{other.path} has the {what} {theirs}, and {first.path} {ours}: a pack gives the same depth "
                    "everywhere",
                    remedy="pack bundles that were exported from one checkpoint",
                )


def _refuse_twins(bundles: Sequence[Bundle]) -> None:
    """Two bundles that fit the same devices: nobody could ask for the second."""
    for number, bundle in enumerate(bundles):
        for earlier in bundles[:number]:
            if shared := _shared(earlier.manifest, bundle.manifest):
                raise OptionError(
                    f"{earlier.path} and {bundle.path} are both {shared}; the second would never be chosen",
                    remedy="leave one of them out",
                )


def _shared(one: Manifest, two: Manifest) -> str:
    """What two bundles are both for; empty where a device tells them apart."""
    if (one.target, one.precision) != (two.target, two.precision):
        return ""
    what = f"{one.target} {one.precision}"
    devices = [
        {(engine.provider, engine.version, engine.sms, engine.device, engine.options.dla_core) for engine in each}
        for each in (one.engines, two.engines)
    ]
    if not all(devices):
        return what if not any(devices) else ""  # a kit beside engines is for every other device
    both = sorted(map(str, devices[0] & devices[1]))
    return f"{what} with an engine of {both[0]}" if both else ""


def _names(bundles: Sequence[Bundle]) -> list[str]:
    """TARGET-PRECISION, of engines with their SM; a number where that was taken."""
    names: list[str] = []
    for bundle in bundles:
        manifest = bundle.manifest
        sms = sorted({sm for engine in manifest.engines for sm in engine.sms})
        name = "-".join([manifest.target, manifest.precision, *(f"sm{sm}" for sm in sms)])
        taken = sum(other == name or other.startswith(f"{name}.") for other in names)
        names.append(f"{name}.{taken + 1}" if taken else name)
    return names
