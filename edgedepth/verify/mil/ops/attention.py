"""Fused attention (iOS 18)."""

from __future__ import annotations

import math

import numpy as np

from edgedepth.verify.mil.ops.activation import softmax
from edgedepth.verify.mil.ops.registry import Array, op

__all__ = ["scaled_dot_product_attention"]


@op("scaled_dot_product_attention", like="query")
def scaled_dot_product_attention(query: Array, key: Array, value: Array, attn_mask: Array | None = None) -> Array:
    """softmax(Q Kᵀ / sqrt(E) + mask) V. A mask of booleans says what takes part."""
    scores = (query @ key.swapaxes(-1, -2)) / np.float32(math.sqrt(query.shape[-1]))
    if attn_mask is not None:
        masked = np.where(attn_mask, np.float32(0), np.float32(-np.inf)) if attn_mask.dtype == bool else attn_mask
        scores = scores + masked
    mixed: Array = softmax(scores) @ value
    return mixed
