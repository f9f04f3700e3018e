"""Packages that were damaged: refused in words, or still a program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgedepth.core.errors import EdgeDepthError
from edgedepth.verify.mil import load_package


def test_a_damaged_spec_is_a_typed_error_or_another_program(tmp_path: Path, convert: Any) -> None:
    """Bytes of a real package change at random: it is refused in words, or it is a package still."""
    x = np.ones((1, 8), np.float32)
    path = convert(torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.GELU()), {"x": x}, ["y"])
    model = next(path.rglob("*.mlmodel"))
    whole = model.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(0, len(damaged), rng.integers(1, 4))] = rng.integers(0, 256)
        model.write_bytes(damaged.tobytes())
        try:
            load_package(path).run({"x": x})
        except EdgeDepthError:
            refused += 1
    model.write_bytes(whole)
    assert refused > 100
