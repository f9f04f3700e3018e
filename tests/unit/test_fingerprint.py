"""A device's fingerprint: the same each time, another where a fact that decides is another."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from edgedepth import fingerprint as module
from edgedepth.cli import main
from edgedepth.core.plain import to_plain
from edgedepth.fingerprint import DeviceFacts, Gpu, RuntimeFacts, device_facts
from edgedepth.trt import providers
from edgedepth.trt.adapter import GpuFacts

ORIN = DeviceFacts(
    system="Linux",
    architecture="aarch64",
    cpu="Cortex-A78AE",
    cpu_flags=("asimd", "asimdhp"),
    soc="NVIDIA Jetson AGX Orin Developer Kit",
    l4t="36.4.3",
    jetpack="6.2",
    gpus=(Gpu(name="Orin", sm=87, driver="540.4.0"),),
    runtimes={"tensorrt": RuntimeFacts(version="10.3.0", devices=("cuda:0",))},
)
OTHER: dict[str, Any] = {
    "system": "Windows",
    "architecture": "x86_64",
    "cpu": "Cortex-A78",
    "cpu_flags": ("asimd",),
    "soc": "NVIDIA Jetson Orin Nano",
    "l4t": "36.4.4",
    "jetpack": "6.2.1",
    "gpus": (Gpu(name="Orin", sm=87, driver="540.5.0"),),
    "runtimes": {"tensorrt": RuntimeFacts(version="10.4.0", devices=("cuda:0",))},
}


def test_every_fact_counts() -> None:
    assert set(OTHER) == {field.name for field in fields(DeviceFacts)}
    prints = [replace(ORIN, **{name: value}).fingerprint for name, value in OTHER.items()]
    assert len({ORIN.fingerprint, *prints}) == len(OTHER) + 1


def test_the_hash_is_of_what_doctor_prints() -> None:
    """Anybody can compute it: of the JSON, keys sorted, without spaces."""
    import hashlib

    printed = json.dumps(to_plain(ORIN), indent=2)  # as it stands in a file
    text = json.dumps(json.loads(printed), sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == ORIN.fingerprint


def test_the_order_of_backends_does_not_count() -> None:
    two = {"onnx": RuntimeFacts(version="1", devices=("cpu",)), "openvino": RuntimeFacts(version=None, devices=())}
    turned = dict(reversed(two.items()))
    assert replace(ORIN, runtimes=two).fingerprint == replace(ORIN, runtimes=turned).fingerprint


def test_doctor_says_the_same_twice(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    printed = []
    for threads in ("1", "2"):  # a setting of the process is no fact of the device
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        assert main(["doctor", "--json"]) == 0
        printed.append(json.loads(capsys.readouterr().out))
    assert printed[0]["machine"].pop("threads") != printed[1]["machine"].pop("threads")
    assert json.dumps(printed[0]) == json.dumps(printed[1])
    assert list(printed[0]) == sorted(printed[0])
    assert printed[0]["fingerprint"] == device_facts().fingerprint


def test_another_gpu_or_driver_is_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_gpus(*gpus: GpuFacts) -> str:
        monkeypatch.setattr(providers, "HARDWARE", lambda: providers.Hardware(find=lambda: gpus, open=open_none))
        return device_facts().fingerprint

    def open_none(index: int, facts: GpuFacts) -> Any:
        raise AssertionError("nothing is opened to look")

    orin = GpuFacts(name="Orin", sm=87, memory_mb=16000, driver="540.4.0")
    assert with_gpus(orin) == with_gpus(replace(orin, memory_mb=15000))
    assert len({with_gpus(), with_gpus(orin), with_gpus(replace(orin, driver="541")), with_gpus(orin, orin)}) == 4


def test_a_version_of_a_runtime_is_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    before = device_facts()
    monkeypatch.setattr(module, "BACKENDS", {name: where for name, where in module.BACKENDS.items() if name != "onnx"})
    assert device_facts().fingerprint != before.fingerprint


def test_every_field_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/fleet.md").read_text(encoding="utf-8")
    for kind in (DeviceFacts, Gpu, RuntimeFacts):
        for field in fields(kind):
            assert f"`{field.name}`" in page, f"{kind.__name__}.{field.name}"
