"""What of CUDA can be looked at without a GPU: that every function that is called exists, and how a driver is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgedepth.core.errors import DeviceError, DeviceMemoryError, StageError
from edgedepth.trt import cuda_api
from edgedepth.trt.cuda_api import driver_words


def test_cuda_python_has_all_that_is_asked_of_it() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed (macOS)")
    asked = set(re.findall(r"(?:cuda|_runtime\(\))\.(cuda\w+(?:\.\w+)?)", Path(cuda_api.__file__).read_text())) - {
        "cudart"
    }
    assert len(asked) > 20
    for name in asked:
        place = runtime
        for part in name.split("."):
            place = getattr(place, part)


@pytest.mark.parametrize(
    ("told", "number", "words"),
    [
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  (buildbrain)\n",
            12060,
            "driver 540.4.0, CUDA 12.6",
        ),
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 06:25:16 UTC 2025\nGCC 12.3.0\n",
            13000,
            "driver 580.65.06, CUDA 13.0",
        ),
        ("", 12020, "driver of CUDA 12.2"),
    ],
)
def test_drivers_in_words(told: str, number: int, words: str) -> None:
    assert driver_words(told, number) == words


class Code(int):
    name = "cudaErrorMemoryAllocation"


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("cudaErrorMemoryAllocation", DeviceMemoryError, "memory is full"),
        ("cudaErrorInsufficientDriver", DeviceError, "finds no GPU"),
        ("cudaErrorIllegalAddress", StageError, "cudaErrorIllegalAddress"),
    ],
)
def test_codes_become_errors(name: str, error: type[Exception], said: str) -> None:
    code = Code(2)
    code.name = name  # type: ignore[misc]
    with pytest.raises(error, match=said):
        cuda_api._checked((code,))
