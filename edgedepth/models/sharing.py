"""A module's structure to change, on weights that stay where they are."""

from __future__ import annotations

import copy

from torch import nn

__all__ = ["sharing_copy"]


def sharing_copy(module: nn.Module) -> nn.Module:
    """A copy of a module's structure that refers to the same weights and buffers: gigabytes are not copied.

    Replace its layers and parameters, and the original is as it was; write into a parameter, and both change.
    """
    shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, shared)
