"""A package's program, ready to be run on any machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import OptionError
from edgedepth.verify.mil.features import parameters_of
from edgedepth.verify.mil.graph import Blob, Constant, Feature, Function, Spec
from edgedepth.verify.mil.interpreter import ReadBlob, run_function, unsupported_ops

__all__ = ["MilProgram"]


class MilProgram:
    """The ML program of a package. load_package() makes one.

    Args:
        spec: what the package says.
        read_blob: reads a constant that lies in a weight file.
        name: of the package, for messages.
    """

    def __init__(self, spec: Spec, read_blob: ReadBlob, *, name: str) -> None:
        self.spec = spec
        self.name = name
        self._read_blob = read_blob

    @property
    def functions(self) -> Mapping[str, Function]:
        """The functions by name; each has inputs and outputs of its own."""
        return self.spec.functions

    @property
    def inputs(self) -> Mapping[str, Feature]:
        """What the default function takes, by name: `.shape`, `.dtype`, and `.image` for a picture."""
        return self._function(self.spec.default_function).inputs

    @property
    def outputs(self) -> Mapping[str, Feature]:
        """What the default function gives, by name."""
        return self._function(self.spec.default_function).outputs

    @property
    def metadata(self) -> Mapping[str, str]:
        """The package's user-defined metadata."""
        return self.spec.metadata

    def unsupported_ops(self, function: str = "main") -> list[str]:
        """The types of operations that run() can't evaluate; empty if it can evaluate all."""
        return unsupported_ops(self._function(function))

    def constants(self, function: str = "main") -> dict[str, npt.NDArray[Any]]:
        """The arrays that are written in the package uncompressed, by name."""
        found = {}
        for operation in self._function(function).operations:
            value = operation.attributes.get("val")
            if operation.type == "const" and isinstance(value, Constant) and value.type is not None:
                data = self._read_blob(value.type, value.data) if isinstance(value.data, Blob) else value.data
                if isinstance(data, np.ndarray):
                    found[operation.outputs[0].name] = data
        return found

    def run(self, inputs: Mapping[str, npt.NDArray[Any]], function: str = "main") -> dict[str, npt.NDArray[Any]]:
        """Evaluate a function.

        Args:
            inputs: every input by its name, in the declared dtype and shape; a picture also as (H, W, 3) uint8 RGB.
            function: its name.

        Returns:
            Every output by its name, in the declared dtype.

        Raises:
            StageError: inputs that are not the declared ones, or a program that doesn't compute what it declares.
            UnsupportedOpError: an operation that is not known here.
            OptionError: there is no such function.
        """
        chosen = self._function(function)
        feeds = parameters_of(chosen, inputs, self.name)
        return run_function(chosen, feeds, self._read_blob, label=self.name)

    def _function(self, name: str) -> Function:
        if name not in self.functions:
            raise OptionError(
                f"{self.name} has no function {name!r}", remedy=f"its functions are {', '.join(sorted(self.functions))}"
            )
        return self.functions[name]
