"""Bundles as programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgedepth.core.bundle import Bundle
from edgedepth.core.manifest import Manifest
from edgedepth.core.spec import DEFAULT_TILE_BATCH
from edgedepth.programs.canonical import CanonicalProgram
from edgedepth.programs.opening import open_program
from edgedepth.programs.stages import Resident, StagePool
from edgedepth.runtimes.base import SessionOptions, backend_named

__all__ = ["program_of", "program_over", "resident_for"]

_SMALL = 1 << 30  # bytes of weights up to which all stages are kept in memory at once


@contextmanager
def program_of(bundle: Bundle, options: SessionOptions) -> Iterator[CanonicalProgram]:
    """A bundle's program, with sessions of its own for as long as the context lasts."""
    backend = backend_named(bundle.manifest.target)
    resident = resident_for(bundle.manifest)
    with StagePool(lambda stage: backend.open(bundle, stage, options), resident=resident) as pool:
        yield program_over(bundle.manifest, pool)


def program_over(manifest: Manifest, pool: StagePool) -> CanonicalProgram:
    """The program that a manifest describes, over whatever sessions it is given."""
    tile_batch = manifest.tile_batch or DEFAULT_TILE_BATCH
    return open_program(manifest.model, pool, layout=manifest.layout, tile_batch=tile_batch)


def resident_for(manifest: Manifest) -> Resident:
    """Large stages are loaded in turn."""
    return "all" if sum(entry.size for entry in manifest.files.values()) < _SMALL else "one"
