"""Which bundle of a pack runs here: the pack's order decides, and what each needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgedepth.core.errors import BundleNotFoundError, OptionError
from edgedepth.core.manifest import Manifest
from edgedepth.core.pack import Pack
from edgedepth.core.spec import Precision
from edgedepth.runtimes.base import Fit, SessionOptions, fit_of

__all__ = ["Choice", "choose_member", "fits_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A bundle of a pack.

    Args:
        name: of the one to run.
        fit: why it fits.
    """

    name: str
    fit: Fit


def fits_of(pack: Pack, options: SessionOptions | None = None) -> dict[str, Fit]:
    """How each bundle of a pack fits this machine, by name."""
    options = options or SessionOptions()
    return {name: fit_of(bundle, options) for name, bundle in pack.bundles.items()}


def choose_member(pack: Pack, target: str | None, precision: Precision | None, fits: Mapping[str, Fit]) -> Choice:
    """The bundle to run.

    The first in the pack's order whose target runs here. TensorRT's are looked at together: one with engines for this
    GPU, its TensorRT and its version, else the first, as a kit that they are built from.

    Args:
        pack: that is chosen from.
        target: that was asked for; None: any.
        precision: that was asked for; None: the first that fits, in the pack's order.
        fits: as fits_of() gives them.

    Raises:
        OptionError: the pack has none of what was asked for.
        BundleNotFoundError: none of them runs here; with the reason of each.
    """
    asked = {name: one for name, one in pack.manifests.items() if _is_asked(one, target, precision)}
    if not asked:
        held = ", ".join(f"{one.target} {one.precision}" for one in pack.manifests.values())
        wanted = " ".join(filter(None, (target, precision)))
        raise OptionError(
            f"{pack.path} has {held}; {wanted} was asked for",
            remedy="leave backend and precision out, or export it and pack it too: edgedepth export --help",
        )
    running = [name for name in asked if fits[name].runs]
    if not running:
        reasons = "; ".join(f"{name}: {fits[name].reason}" for name in asked)
        raise BundleNotFoundError(
            f"nothing in {pack.path} runs here: {reasons}",
            remedy="edgedepth doctor tells what runs here; export for it, and pack that too: edgedepth pack --help",
        )
    target = asked[running[0]].target
    of_target = [name for name in running if asked[name].target == target]
    name = next((name for name in of_target if not fits[name].to_build), of_target[0])
    return Choice(name=name, fit=fits[name])


def _is_asked(manifest: Manifest, target: str | None, precision: Precision | None) -> bool:
    return target in (None, manifest.target) and precision in (None, manifest.precision)
