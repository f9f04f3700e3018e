"""Devices by name and what they compute in, over what OpenVINO reports of machines that are not here."""

from __future__ import annotations

from typing import Any

import pytest

from edgedepth.core.errors import DeviceError, OptionError, UnsupportedError
from edgedepth.core.spec import Precision
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.openvino_devices import (
    available_devices,
    check_thread_option,
    device_for,
    inference_precision,
)

CPU_ONLY = ["CPU"]
LAPTOP = ["CPU", "GPU", "NPU"]
TWO_GPUS = ["CPU", "GPU.0", "GPU.1"]


class Machine:
    """What a Core tells of a device; the properties are OpenVINO's own names."""

    def __init__(self, *capabilities: str) -> None:
        self.properties = {"OPTIMIZATION_CAPABILITIES": list(capabilities), "FULL_DEVICE_NAME": "Some Processor"}

    def get_property(self, device: str, name: str) -> Any:
        return self.properties[name]


def test_devices_are_told_best_first() -> None:
    assert available_devices(LAPTOP) == ("gpu", "cpu", "npu")
    assert available_devices(TWO_GPUS) == ("gpu:0", "gpu:1", "cpu")
    assert available_devices([]) == ()


@pytest.mark.parametrize(
    ("device", "here", "expected"),
    [
        ("auto", CPU_ONLY, "CPU"),
        ("auto", LAPTOP, "GPU"),
        ("auto", TWO_GPUS, "GPU.0"),
        ("AUTO", LAPTOP, "GPU"),
        ("cpu", TWO_GPUS, "CPU"),
        ("CPU", LAPTOP, "CPU"),
        ("gpu", TWO_GPUS, "GPU.0"),
        ("gpu:1", TWO_GPUS, "GPU.1"),
        ("GPU.1", TWO_GPUS, "GPU.1"),
        ("gpu:0", LAPTOP, "GPU"),
        ("npu", LAPTOP, "NPU"),
    ],
)
def test_the_device_that_is_meant(device: str, here: list[str], expected: str) -> None:
    assert device_for(device, here) == expected


@pytest.mark.parametrize(
    ("device", "here"), [("gpu", CPU_ONLY), ("npu", CPU_ONLY), ("gpu:1", LAPTOP), ("gpu:2", TWO_GPUS), ("auto", [])]
)
def test_a_device_that_is_not_here_is_never_another(device: str, here: list[str]) -> None:
    with pytest.raises(DeviceError) as caught:
        device_for(device, here)
    assert (", ".join(available_devices(here)) or "none") in caught.value.problem


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "gpu:x", "gpu:-1", "MULTI:CPU,GPU", "HETERO:GPU", "auto:1", ""])
def test_unknown_devices(device: str) -> None:
    with pytest.raises(OptionError, match="allowed are auto, cpu, gpu"):
        device_for(device, LAPTOP)


def test_threads_are_a_cpus() -> None:
    check_thread_option("CPU", SessionOptions(threads=2))
    check_thread_option("GPU", SessionOptions())
    with pytest.raises(OptionError, match="no effect on GPU"):
        check_thread_option("GPU", SessionOptions(threads=2))


@pytest.mark.parametrize(
    ("device", "capabilities", "precision", "hint"),
    [
        ("CPU", ("FP32", "BF16"), "fp32", "f32"),
        ("CPU", ("FP32", "BF16"), "bf16", "bf16"),
        ("CPU", ("FP32",), "fp16", "f32"),
        ("CPU", ("FP32", "FP16", "BF16"), "fp16", "f32"),  # its f16 kernels are slower than those of f32
        ("GPU", ("FP32", "FP16"), "fp16", "f16"),
        ("GPU", ("FP32", "FP16"), "fp32", "f32"),
        ("NPU", ("FP16", "INT8"), "fp16", "f16"),
        # INT8 is in the file; the rest is computed in the shortest floats that are right there.
        ("CPU", ("FP32", "INT8"), "int8", "f32"),
        ("CPU", ("FP32", "BF16", "INT8"), "int8", "bf16"),
        ("CPU", ("FP32", "FP16", "INT8"), "int8", "f32"),
        ("GPU", ("FP32", "FP16", "INT8"), "int8", "f16"),
        ("NPU", ("FP16", "INT8"), "int8", "f16"),
    ],
)
def test_arithmetic(device: str, capabilities: tuple[str, ...], precision: Precision, hint: str) -> None:
    assert inference_precision(Machine(*capabilities), device, precision) == hint


@pytest.mark.parametrize(
    ("device", "capabilities", "precision", "remedy"),
    [
        ("CPU", ("FP32", "INT8"), "bf16", "--fp32 or --fp16"),
        ("GPU", ("FP32", "FP16"), "bf16", "--fp32 or --fp16"),
        ("NPU", ("FP16", "INT8"), "fp32", "--fp16"),
        ("NPU", ("FP16", "INT8"), "bf16", "--fp16"),
        ("GPU", ("FP32", "FP16"), "int8", "--fp32 or --fp16"),
    ],
)
def test_a_precision_that_a_device_lacks_is_never_another(
    device: str, capabilities: tuple[str, ...], precision: Precision, remedy: str
) -> None:
    with pytest.raises(UnsupportedError, match=f"does not compute in {precision}") as caught:
        inference_precision(Machine(*capabilities), device, precision)
    assert caught.value.remedy.endswith(remedy)
    assert "Some Processor" in caught.value.problem
