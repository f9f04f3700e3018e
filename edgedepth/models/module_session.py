"""The reference's own stages behind the Session interface: what every other backend is measured against."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgedepth.core.declared import DeclaredSession
from edgedepth.core.errors import StageError
from edgedepth.core.feeds import check_feeds, closed_stage, output_buffers
from edgedepth.core.session import Array, OpenStage
from edgedepth.core.spec import StageSpec
from edgedepth.models.loading import LoadedModel
from edgedepth.models.stages import stage_modules, stage_specs

__all__ = ["ModuleSession", "module_stages", "stage_specs"]


_CPU = torch.device("cpu")


class ModuleSession(DeclaredSession):
    """A torch module as a Session.

    Args:
        module: takes the declared inputs by position, and returns a tuple of the declared outputs. It is neither
            copied nor changed.
        stage: what it declares.
        device: where the module's weights are.
    """

    def __init__(self, module: nn.Module, stage: StageSpec, *, device: torch.device = _CPU) -> None:
        self._module: nn.Module | None = module
        super().__init__(stage)
        self._device = device

    @property
    def device(self) -> str:
        """Where it runs."""
        if self._device.type == "cuda":
            return f"{self._device} ({torch.cuda.get_device_name(self._device)})"
        return str(self._device)

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Run the stage once, as Session.run() says."""
        if self._module is None:
            raise closed_stage(self._stage)
        sizes = check_feeds(self._stage, feeds)
        results = output_buffers(self._stage, out, sizes)
        with torch.inference_mode():
            arguments = [_as_tensor(feeds[spec.name]).to(self._device) for spec in self._stage.inputs]
            outputs: tuple[Tensor, ...] = self._module(*arguments)
            self._check_outputs(outputs, results)
            for result, output in zip(results.values(), outputs, strict=True):
                torch.from_numpy(result).copy_(output)
        return results

    def close(self) -> None:
        """Let go of the module; the model that it belongs to keeps its weights."""
        self._module = None

    def _check_outputs(self, outputs: tuple[Tensor, ...], results: Mapping[str, Array]) -> None:
        """copy_ would broadcast and cast: what the module returns has to be what it declares."""
        expected = [(torch.float32, result.shape) for result in results.values()]
        found = [(output.dtype, tuple(output.shape)) for output in outputs]
        if expected != found:
            raise StageError(
                f"stage {self._stage.name} returned {found}; it declares {expected}",
                remedy="report this as a bug of the model's stages",
            )


def _as_tensor(array: npt.NDArray[Any]) -> Tensor:
    """The array's own memory as a tensor, which nobody writes to; strides that torch can't take are copied."""
    if any(stride < 0 or stride % array.itemsize for stride in array.strides):
        array = np.ascontiguousarray(array)
    with warnings.catch_warnings():
        # Read-only arrays are fine here: stages don't write to their inputs.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def module_stages(model: LoadedModel, device: torch.device = _CPU) -> OpenStage:
    """Opens the reference's stages: on the CPU they share the model's weights, elsewhere each is a copy.

    Raises:
        StageError: when opening: the model has no such stage.
    """
    modules, specs = stage_modules(model), stage_specs(model)

    def open_stage(stage: str) -> ModuleSession:
        if stage not in specs:
            raise StageError(
                f"{model.spec.name} has no stage {stage!r}; it has {', '.join(specs)}",
                remedy="ask for one of these",
            )
        module = modules[stage] if device == _CPU else copy.deepcopy(modules[stage]).to(device)
        return ModuleSession(module, specs[stage], device=device)

    return open_stage
