"""The reference as a predictor: the eager, fp32, unpatched, whole model, with torch's own resizing.

Nothing of the host program is used here, so a mistake in its tiling, resizing or scaling shows as a difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from edgedepth.core.session import Array
from edgedepth.models.loading import LoadedModel
from edgedepth.models.relative import Rsa
from edgedepth.models.zoedepth import ZoeDepth
from edgedepth.runtimes.torch_reference_rsa import rsa_depth
from edgedepth.runtimes.torch_reference_zoedepth import zoedepth_depth

__all__ = ["INPUT_STAGES", "EagerReference", "ReferenceDepth"]

INPUT_STAGES = ("image_encoder", "whole", "relative_depth", "metric_depth")
"""Stages that see the whole picture, as the reference prepared it: what EagerReference.input_of knows."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReferenceDepth:
    """What the reference gives for one frame.

    Args:
        depth: (H, W) float32 in metres.
        fov_deg: horizontal, predicted; NaN where the model predicts none.
    """

    depth: Array
    fov_deg: float


class EagerReference:
    """Runs a loaded model as published."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model

    def predict(self, rgb: Array, /) -> ReferenceDepth:
        """Metric depth of an (H, W, 3) float32 RGB frame in 0..1, with the predicted focal length."""
        module = self._model.module
        if isinstance(module, Rsa):
            return ReferenceDepth(depth=rsa_depth(module, self._model.spec, rgb), fov_deg=float("nan"))
        preprocess = self._model.spec.preprocess
        if isinstance(module, ZoeDepth):
            return ReferenceDepth(depth=zoedepth_depth(module, preprocess, rgb), fov_deg=float("nan"))
        normalised = (rgb - np.array(preprocess.mean, np.float32)) / np.array(preprocess.std, np.float32)
        image = torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))
        with torch.inference_mode():
            metric = module.infer(image)
        return ReferenceDepth(depth=metric.depth[0, 0].numpy(), fov_deg=float(metric.fov_deg[0]))

    def input_of(self, stage: str, rgb: Array) -> Array:
        """What the reference's own pre-processing makes of a frame, where a stage sees the whole of it.

        Args:
            stage: one of INPUT_STAGES that the model has.
            rgb: as predict().

        Returns:
            (3, height, width) float32.
        """
        module: Any = self._model.module
        watched = {"image_encoder": lambda: module.encoder.image_encoder, "relative_depth": lambda: module.relative}
        found: list[torch.Tensor] = []

        def look(_: object, arguments: tuple[torch.Tensor, ...]) -> None:
            found.append(arguments[0].clone())

        hook = watched.get(stage, lambda: module)().register_forward_pre_hook(look)
        try:
            self.predict(rgb)
        finally:
            hook.remove()
        seen: Array = found[0][0].numpy()
        return seen
