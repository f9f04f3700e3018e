"""A .mlpackage on disk: which files it has, and the program that they hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import PackageError
from edgedepth.core.reading import check_plain, read_plain
from edgedepth.verify.mil.blob_file import BlobError, BlobFile
from edgedepth.verify.mil.graph import Blob, Constant, Function, TensorType, Variable
from edgedepth.verify.mil.program import MilProgram
from edgedepth.verify.mil.spec_reader import (
    NEWEST_SPEC_VERSION,
    NotAProgramError,
    TooNewError,
    read_spec,
)

__all__ = ["load_package"]

_EXPORT_AGAIN = "export it again: edgedepth export --target coreml"
_MODEL_PATH = "@model_path/"
_LIMIT = 1 << 30  # bytes of a program: weights lie elsewhere


def load_package(path: Path) -> MilProgram:
    """Open a package and check that all of it is there.

    Every constant's record is looked at, none is read: a package costs memory when it runs.

    Args:
        path: of the .mlpackage folder.

    Raises:
        PackageError: it is not a package, or not one of an ML program; its spec is newer than what is known here;
            weights are missing, truncated or not of the declared type; or the program contradicts itself.
    """
    path = Path(path)
    model = _model_file(path)
    try:
        spec = read_spec(read_plain(model, limit=_LIMIT))
    except TooNewError as error:
        raise PackageError(
            f"{path.name} is of {error}; versions to {NEWEST_SPEC_VERSION} (iOS 26) are known",
            remedy="update edgedepth, or export with an earlier --deployment-target",
        ) from error
    except NotAProgramError as error:
        raise PackageError(
            f"{path.name} is a {error}, and only ML programs can be evaluated",
            remedy="convert it with coremltools' convert_to='mlprogram'",
        ) from error
    except (OSError, ValueError, RecursionError) as error:  # ValueError: WireError, UTF-8 and shapes too
        raise PackageError(f"{model} is not a Core ML spec: {error}", remedy=_EXPORT_AGAIN) from error
    weights = _Weights(path, model.parent)
    for function in spec.functions.values():
        _check_borders(path, function)
        _check_names(path, function)
        for declared, blob in _blobs(function):
            weights.read(declared, blob)
    if spec.default_function not in spec.functions:
        there = ", ".join(sorted(spec.functions)) or "none at all"
        problem = f"{path.name} has no function {spec.default_function!r}, its default; its functions: {there}"
        raise PackageError(problem, remedy=_EXPORT_AGAIN)
    return MilProgram(spec, weights.read, name=path.name)


def _model_file(path: Path) -> Path:
    """The spec that the package's manifest names as its root."""
    manifest = path / "Manifest.json"
    try:
        items = json.loads(read_plain(manifest, limit=_LIMIT))
        inside = items["itemInfoEntries"][items["rootModelIdentifier"]]["path"]
        return _inside(path / "Data", inside)
    except FileNotFoundError as error:
        raise PackageError(f"{path} is not an .mlpackage: it has no Manifest.json", remedy=_EXPORT_AGAIN) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise PackageError(f"{manifest} can't be used: {error!r}", remedy=_EXPORT_AGAIN) from error


def _inside(folder: Path, name: str) -> Path:
    """A file below a folder; ValueError for a name that leads out of it."""
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise ValueError(f"the file name {name!r} leads out of the package")
    return folder.joinpath(*parts.parts)


class _Weights:
    """The weight files of a package, each opened once."""

    def __init__(self, package: Path, folder: Path) -> None:
        self._package = package
        self._folder = folder
        self._files: dict[str, BlobFile] = {}

    def read(self, declared: TensorType, blob: Blob) -> npt.NDArray[np.generic]:
        """A constant's values."""
        try:
            if blob.file not in self._files:
                path = _inside(self._folder, blob.file.removeprefix(_MODEL_PATH))
                check_plain(path)
                self._files[blob.file] = BlobFile(path)
            return self._files[blob.file].read(blob.offset, declared)
        except FileNotFoundError as error:
            problem = f"{self._package.name} has no weights: {error.filename} is missing"
            raise PackageError(problem, remedy=_EXPORT_AGAIN) from error
        except (OSError, BlobError, ValueError) as error:
            raise PackageError(f"{self._package.name}: {error}", remedy=_EXPORT_AGAIN) from error


def _blobs(function: Function) -> Iterator[tuple[TensorType, Blob]]:
    for operation in function.operations:
        bound = (value for values in operation.inputs.values() for value in values)
        for value in (*bound, *operation.attributes.values()):
            if isinstance(value, Constant) and value.type and isinstance(value.data, Blob):
                yield value.type, value.data


def _check_borders(path: Path, function: Function) -> None:
    """What Core ML declares and what the program declares must be one thing: an app allocates by the first."""
    types = {named.name: named.type for named in function.parameters}
    types |= {named.name: named.type for operation in function.operations for named in operation.outputs}
    borders = (
        ("input", function.inputs, [named.name for named in function.parameters]),
        ("output", function.outputs, list(function.results)),
    )
    for kind, features, names in borders:
        if sorted(features) != sorted(names):
            problem = f"declares the {kind}s {sorted(features)}, and its program has {sorted(names)}"
            raise _contradiction(path, function, problem)
        for name, feature in features.items():
            behind = types.get(name)
            if behind is None:
                raise _contradiction(path, function, f"{kind} {name!r} is not a tensor")
            known = tuple(size for size in feature.shape if size is not None)
            if feature.dtype != behind.dtype.storage or (len(known) == len(feature.shape) and not behind.fits(known)):
                got = f"{feature.dtype} {feature.shape}"
                raise _contradiction(path, function, f"{kind} {name!r} is declared {got}, and the program has {behind}")


def _check_names(path: Path, function: Function) -> None:
    """Every name is defined once, and before it is used."""
    defined = {named.name for named in function.parameters}
    for operation in function.operations:
        outputs = [named.name for named in operation.outputs]
        label = f"op {operation.type} ({', '.join(outputs)})"
        for values in operation.inputs.values():
            for value in values:
                if isinstance(value, Variable) and value.name not in defined:
                    raise _contradiction(path, function, f"{label} uses {value.name!r}, which is not defined before it")
        if twice := [name for name in outputs if name in defined]:
            raise _contradiction(path, function, f"{label} defines {twice[0]!r} a second time")
        defined.update(outputs)
    if missing := [name for name in function.results if name not in defined]:
        raise _contradiction(path, function, f"no op gives the output {missing[0]!r}")


def _contradiction(path: Path, function: Function, problem: str) -> PackageError:
    return PackageError(f"{path.name} contradicts itself: function {function.name!r}: {problem}", remedy=_EXPORT_AGAIN)
