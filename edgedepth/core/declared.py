"""What sessions of a bundle's stages share: they tell what the manifest declares, and their artefact has to agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgedepth.core.spec import StageSpec, TensorSpec

__all__ = ["DeclaredSession", "FoundTensor", "undeclared"]

FoundTensor = tuple[str, str, Sequence[int | str]]
"""What a runtime tells of an artefact's tensor: its name, its dtype as numpy calls it, its shape."""


class DeclaredSession:
    """A session of one declared stage; subclasses run it.

    Args:
        stage: the declaration.
    """

    def __init__(self, stage: StageSpec) -> None:
        self._stage = stage

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What run() takes."""
        return self._stage.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What run() gives."""
        return self._stage.outputs


def undeclared(
    stage: StageSpec, inputs: Iterable[FoundTensor], outputs: Iterable[FoundTensor], *, named: bool = True
) -> str:
    """What an artefact has that the manifest, which programs allocate by, doesn't declare; "" where they agree.

    Args:
        stage: what the manifest declares.
        inputs: the artefact's, in any order.
        outputs: likewise.
        named: whether they name the dimensions that may vary; else those are -1.
    """
    for kind, specs, tensors in (("inputs", stage.inputs, inputs), ("outputs", stage.outputs, outputs)):
        declared = _in_order(
            (spec.name, spec.dtype, [size if named or isinstance(size, int) else -1 for size in spec.shape])
            for spec in specs
        )
        found = _in_order((name, dtype, list(shape)) for name, dtype, shape in tensors)
        if found != declared:
            return f"the {kind} {found}; the manifest declares {declared}"
    return ""


def _in_order(tensors: Iterable[FoundTensor]) -> list[FoundTensor]:
    return sorted(tensors, key=str)
