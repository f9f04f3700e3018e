"""The program of a model: which class runs which family and layout."""

from __future__ import annotations

from edgedepth.core.errors import UnsupportedError
from edgedepth.core.spec import Layout, ModelSpec
from edgedepth.programs.canonical import CanonicalProgram
from edgedepth.programs.depth_pro import DepthProProgram, WindowProof
from edgedepth.programs.direct import DirectProgram
from edgedepth.programs.rsa import ProofProgram, RsaProgram
from edgedepth.programs.single_graph import SingleGraphProgram
from edgedepth.programs.stages import StagePool

__all__ = ["open_program", "proof_of"]


def open_program(
    spec: ModelSpec, pool: StagePool, *, layout: Layout, tile_batch: int
) -> CanonicalProgram | RsaProgram | DirectProgram:
    """The program that runs a model's stages.

    Args:
        spec: the model.
        pool: its stages.
        layout: "staged", or "single" for a graph that does its own tiling.
        tile_batch: tiles a call of the patch encoder, for models that have one.

    Raises:
        UnsupportedError: a family that this version doesn't know.
        OptionError: tile_batch is out of range.
    """
    if spec.family in ("relative", "rsa"):
        return RsaProgram(spec, pool)
    if spec.family == "zoedepth":
        return DirectProgram(spec, pool)
    if spec.family != "depth-pro":
        raise UnsupportedError(
            f"{spec.name} is of the family {spec.family!r}; this version runs 'depth-pro', "
            "'relative', 'rsa' and 'zoedepth'",
            remedy="pip install --upgrade edgedepth",
        )
    if layout == "single":
        return SingleGraphProgram(spec, pool)
    return DepthProProgram(spec, pool, tile_batch=tile_batch)


def proof_of(
    program: CanonicalProgram | RsaProgram | DirectProgram,
) -> CanonicalProgram | ProofProgram | WindowProof | DirectProgram:
    """The program as proofs run it: from a frame alone to metres, with a part for every stage."""
    if isinstance(program, RsaProgram):
        return ProofProgram(program)
    if isinstance(program, DepthProProgram) and program.has_windows:
        return WindowProof(program)
    return program
