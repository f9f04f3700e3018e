"""Any loaded model's stages, whatever its family: modules, and what they declare."""

from __future__ import annotations

from torch import nn

from edgedepth.core.spec import StageSpec
from edgedepth.models import depth_pro_stages, relative_stages
from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_config import decoder_window_stages, whole_stage
from edgedepth.models.loading import LoadedModel
from edgedepth.models.zoedepth import ZoeDepth
from edgedepth.models.zoedepth_stages import ZoeDepthStage

__all__ = ["stage_modules", "stage_specs"]


def stage_modules(model: LoadedModel, *, folded: bool = False, spelled_softmax: bool = False) -> dict[str, nn.Module]:
    """Modules by stage; each takes the declared inputs by position and returns a tuple of the declared outputs.

    `folded` is for Depth Pro's decoder, see models/depth_pro_decoding.py; other families have nothing to fold.
    `spelled_softmax` is for ZoeDepth's biased attention, see models/zoedepth_attention.py.
    """
    if isinstance(model.module, DepthPro):
        return depth_pro_stages.stage_modules(model.module, folded=folded)
    if isinstance(model.module, ZoeDepth):
        return {
            "metric_depth": ZoeDepthStage(model.module, model.spec.preprocess.shape, spelled_softmax=spelled_softmax)
        }
    return relative_stages.stage_modules(model.module, model.spec.preprocess.shape)


def stage_specs(model: LoadedModel) -> dict[str, StageSpec]:
    """The declarations of everything that a model can be run or exported as, by name; "whole" where there is one."""
    specs = list(model.spec.stages)
    if isinstance(model.module, DepthPro):
        specs += [*decoder_window_stages(model.module.config), whole_stage(model.module.config)]
    return {stage.name: stage for stage in specs}
