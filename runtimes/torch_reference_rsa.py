"""The reference of relative models and RSA: eager, fp32, whole, with torch's own resizing.

Of the host program only the tokenizer is shared, which has golden ids of its own.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgedepth.core.session import Array
from edgedepth.core.spec import ModelSpec
from edgedepth.models.relative import Rsa
from edgedepth.programs.clip_tokens import tokenize
from edgedepth.programs.rsa import proof_guidance

__all__ = ["rsa_depth"]


@torch.inference_mode()
def rsa_depth(module: Rsa, spec: ModelSpec, rgb: Array) -> Array:
    """Metric depth (H, W) float32 of an (H, W, 3) float32 RGB frame in 0..1, with what proofs say of the scale."""
    assert spec.relative is not None
    frame = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))[None]
    image = F.interpolate(frame, spec.preprocess.shape, mode=spec.preprocess.resize, align_corners=False)
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.preprocess.mean, spec.preprocess.std))
    raw = module.relative((image - mean) / std)
    relative = F.interpolate(raw, rgb.shape[:2], mode="bicubic", align_corners=False)[0, 0]
    scale, shift = _scale_shift(module, spec)
    depth = (1 / (scale * relative + shift)).clamp(spec.relative.min_depth_m, spec.relative.max_depth_m)
    found: Array = depth.numpy()
    return found


def _scale_shift(module: Rsa, spec: ModelSpec) -> tuple[Tensor, Tensor]:
    guidance = proof_guidance(spec)
    if guidance.scale_shift is not None:
        scale, shift = map(torch.tensor, guidance.scale_shift)
        return scale, shift
    assert module.text is not None
    assert module.head is not None
    tokens = tokenize(guidance.captions[0], module.text.config.context).ids
    scale, shift = module.head(module.text(torch.from_numpy(tokens)))
    return scale.squeeze(), shift.squeeze()
