"""Programs over the stages of a bundle that has no runtime of its own yet."""

from __future__ import annotations

from edgedepth.core.manifest import Manifest
from edgedepth.core.spec import DEFAULT_TILE_BATCH
from edgedepth.programs.canonical import CanonicalProgram
from edgedepth.programs.opening import open_program
from edgedepth.programs.stages import Resident, StagePool

__all__ = ["program_over", "resident_for"]

_SMALL = 1 << 30  # bytes of weights up to which all stages are kept in memory at once


def program_over(manifest: Manifest, pool: StagePool) -> CanonicalProgram:
    """The program that a manifest describes, over whatever sessions it is given."""
    tile_batch = manifest.tile_batch or DEFAULT_TILE_BATCH
    program = open_program(manifest.model, pool, layout=manifest.layout, tile_batch=tile_batch)
    assert isinstance(program, CanonicalProgram)  # no other family comes here
    return program


def resident_for(manifest: Manifest) -> Resident:
    """Large stages are loaded in turn."""
    return "all" if sum(entry.size for entry in manifest.files.values()) < _SMALL else "one"
