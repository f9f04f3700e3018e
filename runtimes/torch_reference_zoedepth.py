"""The reference of ZoeDepth: eager, fp32, whole, with torch's own mirroring and resizing.

Nothing of the host program is used here.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from edgedepth.core.session import Array
from edgedepth.core.spec import PreprocessSpec
from edgedepth.models.zoedepth import ZoeDepth

__all__ = ["zoedepth_depth"]


@torch.inference_mode()
def zoedepth_depth(module: ZoeDepth, preprocess: PreprocessSpec, rgb: Array) -> Array:
    """Metric depth (H, W) float32 of an (H, W, 3) float32 RGB frame in 0..1, as transformers' pipeline makes it."""
    height, width = rgb.shape[:2]
    top, left = (int(preprocess.reflect * math.sqrt(side / 2)) for side in (height, width))
    frame = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))[None]
    mirrored = F.pad(frame, (left, left, top, top), mode="reflect")
    image = F.interpolate(mirrored, preprocess.shape, mode="bilinear", align_corners=True)
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
    depth = F.interpolate(module((image - mean) / std), mirrored.shape[2:], mode="bicubic", align_corners=False)
    found: Array = depth[0, 0, top : top + height, left : left + width].clamp(min=1e-3).contiguous().numpy()
    return found
