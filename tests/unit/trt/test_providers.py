"""Which TensorRT is taken, what is too old, and what is told of what is missing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from edgedepth.core.engine import BuildOptions
from edgedepth.core.errors import DeviceError, OptionError, UnsupportedError
from edgedepth.trt import providers
from edgedepth.trt.adapter import GpuFacts, TensorRt
from edgedepth.trt.fake_api import FakeTensorRt, read_with_onnxruntime
from edgedepth.trt.options import EngineOptions, parse_sms
from edgedepth.trt.tensorrt_api import is_strongly_typed

H100 = GpuFacts(name="H100", sm=90, memory_mb=80000)
RTX_4090 = GpuFacts(name="RTX 4090", sm=89, memory_mb=24000)
ORIN = GpuFacts(name="Orin", sm=87, memory_mb=16000)

# What tells the generations apart, as NVIDIA's modules have it.
GENERATIONS = {
    "8.6": SimpleNamespace(
        NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0), BuilderFlag=SimpleNamespace(FP16=0, INT8=1)
    ),
    "10.3": SimpleNamespace(
        NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0, STRONGLY_TYPED=1),
        BuilderFlag=SimpleNamespace(FP16=0, INT8=1, TF32=7),
    ),
    "11.4": SimpleNamespace(NetworkDefinitionCreationFlag=SimpleNamespace(), BuilderFlag=SimpleNamespace(TF32=7)),
}


@pytest.mark.parametrize(("version", "typed"), [("8.6", False), ("10.3", True), ("11.4", True)])
def test_strong_typing_is_asked_for_by_name(version: str, typed: bool) -> None:
    assert is_strongly_typed(GENERATIONS[version]) == typed


def test_8_6_is_refused_with_the_jetpack_that_cures_it(monkeypatch: pytest.MonkeyPatch) -> None:
    old = SimpleNamespace(**vars(GENERATIONS["8.6"]), __version__="8.6.2", Builder=object)
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", old)
    with pytest.raises(UnsupportedError, match=r"tensorrt 8\.6\.2 is too old: it knows no strongly typed") as caught:
        providers.find_provider("tensorrt")
    assert "JetPack 6.1" in caught.value.remedy


def test_a_placeholder_is_no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", SimpleNamespace(__version__="11.4.0"))
    provider, reason = providers.look_for("tensorrt")
    assert provider is None
    assert "installed without its libraries" in reason
    assert "JetPack" in reason


def here(monkeypatch: pytest.MonkeyPatch, **found: TensorRt | None) -> None:
    """Put fakes in the providers' places; None is one that isn't installed."""

    def loader(provider: TensorRt | None) -> object:
        def load() -> TensorRt:
            if provider is None:
                raise UnsupportedError("it is not here", remedy="install it")
            return provider

        return load

    for name, provider in found.items():
        monkeypatch.setitem(providers.LOADERS, name.replace("_", "-"), loader(provider))


def jetson() -> FakeTensorRt:
    return FakeTensorRt(read_with_onnxruntime)


def rtx() -> FakeTensorRt:
    return FakeTensorRt(read_with_onnxruntime, provider="tensorrt-rtx", version="1.7.1", ahead_of_time=(86, 89))


@pytest.mark.parametrize(
    ("tensorrt", "tensorrt_rtx", "gpu", "chosen"),
    [
        (jetson(), rtx(), ORIN, "tensorrt"),
        (jetson(), None, ORIN, "tensorrt"),
        (None, rtx(), RTX_4090, "tensorrt-rtx"),
        (jetson(), rtx(), H100, "tensorrt"),
        (None, rtx(), H100, None),
        (None, rtx(), ORIN, None),
        (jetson(), rtx(), None, "tensorrt-rtx"),
        (None, rtx(), None, "tensorrt-rtx"),
        (jetson(), None, None, None),
        (None, None, ORIN, None),
    ],
)
def test_who_builds(
    monkeypatch: pytest.MonkeyPatch,
    tensorrt: TensorRt | None,
    tensorrt_rtx: TensorRt | None,
    gpu: GpuFacts | None,
    chosen: str | None,
) -> None:
    here(monkeypatch, tensorrt=tensorrt, tensorrt_rtx=tensorrt_rtx)
    provider, reason = providers.choose_builder("auto", gpu)
    assert (provider.provider if provider else None) == chosen
    assert bool(reason) == (chosen is None)


def test_one_that_was_asked_for_by_name_is_that_one_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch, tensorrt=jetson(), tensorrt_rtx=None)
    with pytest.raises(DeviceError, match="builds on the GPU"):
        providers.choose_builder("tensorrt", None)
    with pytest.raises(UnsupportedError, match="not here"):
        providers.choose_builder("tensorrt-rtx", None)
    here(monkeypatch, tensorrt_rtx=rtx())
    with pytest.raises(DeviceError, match=r"is for SM 86, 89, and H100 has SM 90") as caught:
        providers.choose_builder("tensorrt-rtx", H100)
    assert "NVIDIA's own package index" in caught.value.remedy
    with pytest.raises(OptionError, match="allowed are auto, tensorrt, tensorrt-rtx"):
        providers.choose_builder("trt", None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("provider", "version", "bad"),
    [
        ("tensorrt", "10.2.0", False),
        ("tensorrt", "10.3.0.30", True),
        ("tensorrt", "10.7.0.23", True),
        ("tensorrt", "10.8.0.43", False),
        ("tensorrt", "10.16.2", False),
        ("tensorrt", "11.4.0", False),
        ("tensorrt-rtx", "1.7.1.116", False),
    ],
)
def test_versions_that_are_known_to_be_wrong(provider: str, version: str, bad: bool) -> None:
    assert ("#4723" in providers.known_bad(provider, version)) == bad


def test_sms() -> None:
    assert parse_sms("120, 86,8.9,sm86") == (86, 89, 120)
    for text in ("", "86,", "ampere", "86;89", "-86", "٨٦"):
        with pytest.raises(OptionError, match="--sm"):
            parse_sms(text)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"workspace_mb": 0}, "--workspace-mb"),
        ({"optimization_level": 6}, "--optimization-level"),
        ({"optimization_level": True}, "--optimization-level"),
        ({"dla_core": 2}, "--dla"),
    ],
)
def test_numbers_that_no_builder_takes(options: dict[str, int], named: str) -> None:
    with pytest.raises(OptionError, match=named):
        EngineOptions(build=BuildOptions(**options))


def test_sm_is_for_rtx() -> None:
    with pytest.raises(OptionError, match="--sm is for tensorrt-rtx"):
        EngineOptions(provider="tensorrt", sms=(87,))
