"""MIL's operations, one file a family. Importing this package registers all of them."""

from edgedepth.verify.mil.ops import (
    activation,
    attention,
    compression,
    conv,
    elementwise,
    gather,
    linear,
    normalisation,
    reduction,
    resize,
    shape,
)
from edgedepth.verify.mil.ops.registry import OPS, Op

__all__ = [
    "OPS",
    "Op",
    "activation",
    "attention",
    "compression",
    "conv",
    "elementwise",
    "gather",
    "linear",
    "normalisation",
    "reduction",
    "resize",
    "shape",
]
