"""The checks at a stage's border, the same for every backend: names, dtypes and shapes, in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import StageError
from edgedepth.core.session import Array
from edgedepth.core.spec import StageSpec, TensorSpec

__all__ = ["check_feeds", "closed_stage", "output_buffers", "receive_output"]

_REMEDY = "the stage's declared inputs and outputs are listed by: edgedepth inspect BUNDLE"


def check_feeds(
    stage: StageSpec, feeds: Mapping[str, npt.NDArray[Any]], kinds: tuple[type, ...] = (np.ndarray,)
) -> dict[str, int]:
    """Compare what was fed with what the stage declares.

    Args:
        stage: the declaration.
        feeds: arrays by input name, of any strides.
        kinds: the types of array that the session takes.

    Returns:
        The sizes of the dimensions that have names: {"tiles": 5}.

    Raises:
        StageError: a missing or unknown name, a wrong dtype, a wrong or empty shape.
    """
    _check_names(stage.name, "input", stage.inputs, feeds, complete=True)
    sizes: dict[str, int] = {}
    for spec in stage.inputs:
        _check_tensor(stage.name, "input", spec, feeds[spec.name], sizes, kinds=kinds)
    return sizes


def output_buffers(
    stage: StageSpec,
    out: Mapping[str, Array] | None,
    sizes: Mapping[str, int],
    kinds: tuple[type, ...] = (np.ndarray,),
) -> dict[str, Array]:
    """The arrays that results go into: the caller's own where there are any, new ones for the rest.

    Args:
        stage: the declaration.
        out: arrays by output name, or None.
        sizes: what check_feeds() found.
        kinds: the types of array that the session writes to.

    Returns:
        An array for every output, in the declared order.

    Raises:
        StageError: an unknown name, a wrong dtype or shape, or an array that can't be written in place.
    """
    out = out or {}
    _check_names(stage.name, "output", stage.outputs, out, complete=False)
    buffers: dict[str, Array] = {}
    for spec in stage.outputs:
        if spec.name not in out:
            shape = tuple(sizes[size] if isinstance(size, str) else size for size in spec.shape)
            buffers[spec.name] = np.empty(shape, np.float32)
            continue
        array = out[spec.name]
        _check_tensor(stage.name, "output", spec, array, dict(sizes), kinds=kinds)
        if not (array.flags.c_contiguous and array.flags.writeable and array.flags.aligned):
            raise StageError(
                f"stage {stage.name}: the buffer for output {spec.name!r} can't be written in place; "
                "a writeable, C-contiguous array is needed",
                remedy="pass np.empty(shape, np.float32), or leave the output out and it is allocated",
            )
        buffers[spec.name] = array
    return buffers


def receive_output(stage: StageSpec, name: str, output: npt.NDArray[Any] | None, buffer: Array, *, remedy: str) -> None:
    """Copy what a runtime gave for an output into its buffer; copyto alone would broadcast and cast.

    Raises:
        StageError: nothing came, or another dtype or shape than is declared.
    """
    if output is buffer:
        return
    if output is None or output.dtype != buffer.dtype or output.shape != buffer.shape:
        got = "nothing" if output is None else f"{output.dtype} {output.shape}"
        raise StageError(
            f"stage {stage.name}: output {name!r} came as {got}; {buffer.dtype} {buffer.shape} is declared",
            remedy=remedy,
        )
    np.copyto(buffer, output)


def _check_names(
    stage: str, kind: str, specs: Sequence[TensorSpec], given: Mapping[str, object], *, complete: bool
) -> None:
    names = [spec.name for spec in specs]
    if unknown := [name for name in given if name not in names]:
        raise StageError(
            f"stage {stage}: there is no {kind} {unknown[0]!r}; the {kind}s are {', '.join(names)}", remedy=_REMEDY
        )
    if complete and (missing := [name for name in names if name not in given]):
        raise StageError(
            f"stage {stage}: {kind} {missing[0]!r} is missing; the {kind}s are {', '.join(names)}", remedy=_REMEDY
        )


def _check_tensor(
    stage: str, kind: str, spec: TensorSpec, array: Any, sizes: dict[str, int], *, kinds: tuple[type, ...]
) -> None:
    """Compare one array with its declaration; `sizes` learns the dimensions that have names."""
    expected = f"expected an array of {spec.dtype}, shape ({', '.join(map(str, spec.shape))})"
    where = f"stage {stage}: {kind} {spec.name!r}"
    is_array = isinstance(array, kinds)
    if not is_array:
        raise StageError(f"{where}: got {type(array).__name__}, {expected}", remedy=_REMEDY)
    if array.dtype != np.dtype(spec.dtype):
        raise StageError(f"{where}: got dtype {array.dtype}, {expected}", remedy=_REMEDY)
    fits = array.ndim == len(spec.shape) and all(
        got > 0 and got == (sizes.setdefault(size, got) if isinstance(size, str) else size)
        for got, size in zip(array.shape, spec.shape, strict=True)
    )
    if not fits:
        known = f" where {', '.join(f'{name} is {size}' for name, size in sizes.items())}" if sizes else ""
        raise StageError(f"{where}: got shape {array.shape}, {expected}{known}", remedy=_REMEDY)


def closed_stage(stage: StageSpec) -> StageError:
    """What running a closed session ends in."""
    return StageError(f"stage {stage.name} was closed and can't run", remedy="open the stage again before running it")
