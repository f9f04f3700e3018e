"""Packages made by coremltools from small torch modules."""

from __future__ import annotations

import functools
import gc
import sys
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from torch import nn

Convert = Callable[..., Path]


@pytest.fixture(autouse=True, scope="module")
def _collect_temporary_folders() -> Iterator[None]:
    """coremltools leaves its temporary folders to the garbage collector, which warns of each: here, and not later."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        if "coremltools" in sys.modules:
            gc.collect()


@pytest.fixture(scope="session")
def coremltools() -> Any:
    """Coremltools, whose import and converter warn of what is none of our doing (untested torch, no macOS)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("coremltools", reason="coremltools (the extra coreml) makes the packages")


@pytest.fixture(scope="session")
def convert(coremltools: Any, tmp_path_factory: pytest.TempPathFactory) -> Convert:
    """Convert a module to a package: convert(module, {input: array}, ["output"], half=True, opset="iOS17")."""

    @functools.cache  # a conversion takes most of a second
    def converted(module: nn.Module, key: Hashable, half: bool, opset: str) -> Any:
        import torch

        inputs, outputs, declared = pending[key]
        tensors = tuple(torch.from_numpy(array) for array in inputs.values())
        # torch.export and not torch.jit.trace: with numpy 2.4 coremltools can't read the sizes that a trace has.
        exported = torch.export.export(module.eval(), tensors).run_decompositions({})
        ct = coremltools
        return ct.convert(
            exported,
            convert_to="mlprogram",
            minimum_deployment_target=getattr(ct.target, opset),
            compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
            inputs=declared
            or [ct.TensorType(name=name, shape=array.shape, dtype=array.dtype.type) for name, array in inputs.items()],
            outputs=[ct.TensorType(name=name, dtype=np.float32) for name in outputs],
            skip_model_load=True,
        )

    pending: dict[Hashable, tuple[Mapping[str, np.ndarray[Any, Any]], list[str], list[Any] | None]] = {}

    def make(
        module: nn.Module,
        inputs: Mapping[str, np.ndarray[Any, Any]],
        outputs: list[str],
        *,
        half: bool = False,
        opset: str = "iOS17",
        compress: Callable[[Any], Any] | None = None,
        declared_inputs: list[Any] | None = None,
    ) -> Path:
        path = tmp_path_factory.mktemp("package") / "model.mlpackage"
        key = (tuple((name, array.shape) for name, array in inputs.items()), *outputs, str(declared_inputs))
        pending[key] = (inputs, outputs, declared_inputs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = converted(module, key, half, opset)
            model = compress(model) if compress else model
            model.save(str(path))
        return path

    return make
