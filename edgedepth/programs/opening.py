"""The program of a model: which class runs which family and layout."""

from __future__ import annotations

from edgedepth.core.errors import UnsupportedError
from edgedepth.core.spec import Layout, ModelSpec
from edgedepth.programs.canonical import CanonicalProgram
from edgedepth.programs.depth_pro import DepthProProgram
from edgedepth.programs.single_graph import SingleGraphProgram
from edgedepth.programs.stages import StagePool

__all__ = ["open_program"]


def open_program(spec: ModelSpec, pool: StagePool, *, layout: Layout, tile_batch: int) -> CanonicalProgram:
    """The program that runs a model's stages.

    Args:
        spec: the model.
        pool: its stages.
        layout: "staged", or "single" for a graph that does its own tiling.
        tile_batch: tiles a call of the patch encoder.

    Raises:
        UnsupportedError: a family that this version doesn't know.
        OptionError: tile_batch is out of range.
    """
    if spec.family != "depth-pro":
        raise UnsupportedError(
            f"{spec.name} is of the family {spec.family!r}; this version runs 'depth-pro'",
            remedy="pip install --upgrade edgedepth",
        )
    if layout == "single":
        return SingleGraphProgram(spec, pool)
    return DepthProProgram(spec, pool, tile_batch=tile_batch)
