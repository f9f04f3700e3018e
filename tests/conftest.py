"""What the whole suite shares. Real pictures lie beside a checkout or nowhere: tests that need them say so."""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import io
import os
import pickle
import shutil
import signal
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from torch import nn

    from edgedepth.core.spec import Precision, StageSpec
    from edgedepth.exporters.coreml_options import ComputeLayout
    from edgedepth.models.loading import LoadedModel

ROOT = Path(__file__).resolve().parents[1]
REAL_PICTURES = ROOT.parent / "shared" / "data"

SEPARATE = ("tests/cli/test_docs.py",)
"""Files whose tests share nothing, and take long enough to be dealt to the workers one by one."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests run in one worker, so that its fixtures are made once.

    xdist_group would do for some files what this does for all, and pytest 9.2 doesn't hand its groups to xdist 3.8.
    """
    if config.getvalue("dist") not in ("loadfile", "loadgroup"):
        return None
    from xdist.scheduler import LoadFileScheduling

    # Not the files of most tests first: pages of one test each, which take longest, would be left for the end.
    config.option.loadscopereorder = False

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return nodeid if file in SEPARATE else file

    return ByFile(config, log)


def pytest_collection_finish() -> None:
    """What was imported and collected is here to stay: without this every full garbage collection walks through it."""
    if "torch" in sys.modules:
        _remember_torchs_translations()
    gc.collect()
    gc.freeze()


def _remember_torchs_translations() -> None:
    """torch.onnx.export lists anew for every graph how operators are translated: 0.4 s of a stage's 2.5 s."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_works() -> None:
    """A shell that runs the suite in the background has it ignore Ctrl-C, and everything that it starts."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """No power cut is outlived here, and a write of some kilobytes takes a hundred times longer where it is flushed.

    What has to be flushed, and when, is proven by tests/unit/core/test_folders.py; processes that tests start do it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: os.fstat(descriptor) and None)  # a closed one is refused still
        yield


@pytest.fixture(scope="session", autouse=True)
def _store_of_shared_fixtures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fixtures that outlive a test have a store too that is neither the user's nor another worker's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEDEPTH_HOME", str(tmp_path_factory.mktemp("edgedepth-home")))
        yield


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's artefact store."""
    monkeypatch.setenv("EDGEDEPTH_HOME", str(tmp_path / "edgedepth-home"))


@pytest.fixture(scope="session")
def real_pictures() -> Path:
    """The folder of real pictures that developers keep beside their checkout."""
    if not REAL_PICTURES.is_dir():
        pytest.skip("the real pictures are not beside this checkout (../shared/data)")
    return REAL_PICTURES


OnceARun = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once_a_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnceARun]:
    """Makes a folder by its name, once for all workers: exports take seconds.

    Each worker gets a copy. (onnx opens no weights behind links.) A test that writes into it changes what the tests
    after it find, in whatever order they run: files that came, went or changed their size are told at the end. (What a
    bundle's seal covers can't change unnoticed anyway.)
    """
    mine = tmp_path_factory.getbasetemp()
    everyones = (mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine) / "once"
    everyones.mkdir(exist_ok=True)
    shared: dict[Path, set[str]] = {}

    def files(folder: Path) -> set[str]:
        return {f"{file.relative_to(folder)}: {file.stat().st_size} bytes" for file in folder.rglob("*")}

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        made, unfinished = everyones / name, everyones / f"{name}.unfinished"
        with FileLock(everyones / f"{name}.lock"):
            if not made.exists():
                make(unfinished)
                unfinished.rename(made)
        copy = shutil.copytree(made, tmp_path_factory.mktemp(name) / "bundle")
        if (copy / "manifest.json").exists():  # a bundle; graphs are taken out of their copies
            shared[copy] = files(copy)
        return copy

    yield folder
    changed = {folder: sorted(files(folder) ^ before) for folder, before in shared.items()}
    assert not any(changed.values()), f"tests changed what they share: {changed}"


class _Digest(pickle.Pickler):
    """A digest of all that a module is: its classes, attributes, hooks and weights."""

    def __init__(self, said: str) -> None:
        self._hash = hashlib.sha256(said.encode())
        super().__init__(SimpleNamespace(write=self._hash.update))
        self.fast = True  # else what is equal is told otherwise where it is the same object

    def persistent_id(self, value: Any) -> object:
        """What pickle tells otherwise each time, or not at all."""
        if isinstance(value, FunctionType):
            return value.__module__, value.__qualname__, value.__code__.co_code
        if isinstance(value, OrderedDict) and value and all(isinstance(hook, FunctionType) for hook in value.values()):
            return tuple(map(self.persistent_id, value.values()))  # without hooks' numbers, which go on from the last
        if "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor):
            values = value.detach().contiguous().numpy()  # and not where in memory they lie
            return str(value.dtype), tuple(value.shape), hashlib.sha256(values.tobytes()).hexdigest()
        return None

    def of(self, module: nn.Module) -> str:
        self.dump(module)
        return self._hash.hexdigest()


TracingOnce = Callable[[], contextlib.AbstractContextManager[None]]

_REMEMBERED = 100 << 20
"""Bytes of a module whose graph is kept: those of a full-size one would fill the disk."""


@pytest.fixture(scope="session")
def tracing_once(once_a_run: OnceARun) -> TracingOnce:
    """Inside of it a graph of the same module, stage and options is traced once a run: it takes most of an export.

    For exports that a test begins with, or that it types as a user would. Not where exporting itself is tested: what a
    test patches in torch isn't looked at.
    """
    from edgedepth.exporters import to_onnx_stage

    trace = to_onnx_stage.export_stage

    def remembered(module: nn.Module, stage: StageSpec, path: Path, *, precision: Precision, opset: int) -> None:
        asked = repr((stage, path.name, precision, opset))
        same = None
        if sum(tensor.nbytes for tensor in module.state_dict().values()) <= _REMEMBERED:
            with contextlib.suppress(
                AttributeError, TypeError, RecursionError, pickle.PicklingError
            ):  # it holds anything
                same = _Digest(asked).of(module)
        if same is None:
            trace(module, stage, path, precision=precision, opset=opset)
            return

        def make(folder: Path) -> None:
            folder.mkdir()
            trace(module, stage, folder / path.name, precision=precision, opset=opset)

        for file in once_a_run(f"graph-{same[:16]}", make).iterdir():
            shutil.move(file, path.with_name(file.name))

    @contextlib.contextmanager
    def inside() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(to_onnx_stage, "export_stage", remembered)
            yield

    return inside


@pytest.fixture
def traced_once(tracing_once: TracingOnce) -> Iterator[None]:
    """The test, and what it types, shares graphs with others."""
    with tracing_once():
        yield


@pytest.fixture(scope="session")
def exported(once_a_run: OnceARun, tracing_once: TracingOnce) -> Callable[..., Path]:
    """The bundle that `edgedepth export` makes of words, made once a run. Copy it before changing anything in it."""
    from edgedepth.cli import build_parser, main

    @functools.cache
    def bundle(*words: str) -> Path:
        meant = vars(build_parser().parse_args(["export", *words]))
        del meant["run"], meant["out"], meant["json"], meant["verbose"]
        same = hashlib.sha256(
            repr(sorted(meant.items())).encode()
        ).hexdigest()  # whatever is a default and was left out

        def export(out: Path) -> None:
            said = io.StringIO()
            with tracing_once(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                assert main(["export", *words, "--out", str(out)]) == 0, said.getvalue()

        return once_a_run(f"exported-{same[:8]}", export)

    return bundle


@pytest.fixture(scope="session")
def mini() -> LoadedModel:
    """The mini on its seeded random weights."""
    from edgedepth.models.loading import load_model

    return load_model("depth-pro-mini", "random:0")


@pytest.fixture(scope="session")
def mini_bundle(exported: Callable[..., Path]) -> Path:
    """The mini's fp32 ONNX bundle, exported once for the whole suite. Copy it before changing anything in it."""
    return exported("--model", "depth-pro-mini", "--weights", "random:0", "--target", "onnx")


@pytest.fixture(scope="session")
def mini_openvino(exported: Callable[..., Path]) -> Callable[[Precision], Path]:
    """The mini's OpenVINO bundle of a precision. Copy it before changing anything in it."""

    def bundle(precision: Precision) -> Path:
        words = ("--target", "openvino", f"--{precision}")
        return exported("--model", "depth-pro-mini", "--weights", "random:0", *words)

    return bundle


@pytest.fixture(scope="session")
def trained_mini() -> LoadedModel:
    """The mini on the weights that it is published with: untrained ones hide what fp16 and int8 cost."""
    from edgedepth.models.loading import load_model

    return load_model("depth-pro-mini")


@pytest.fixture(scope="session")
def mini_coreml(exported: Callable[..., Path]) -> Callable[..., Path]:
    """The trained mini's Core ML bundle of a precision and a compute layout. Copy it before changing anything in it."""

    def bundle(precision: Precision, compute_layout: ComputeLayout = "gpu") -> Path:
        words = ("--target", "coreml", f"--{precision}", "--compute-layout", compute_layout)
        return exported("--model", "depth-pro-mini", *words)

    return bundle


@pytest.fixture(scope="session")
def tiny() -> LoadedModel:
    """A Depth Pro of a few thousand weights, for what has to be exported again and again."""
    from edgedepth.models.depth_pro_config import DepthProConfig
    from edgedepth.models.loading import load_model
    from edgedepth.models.registry import MODELS, model_entry

    config = DepthProConfig(
        width=24,
        depth=2,
        heads=2,
        patch=16,
        tile=128,
        hooks=(0, 1),
        feature_dims=(8, 12, 16, 16),
        decoder_width=16,
        head_width=8,
    )
    entry = replace(model_entry("depth-pro-mini"), name="depth-pro-tiny", config=config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, entry.name, entry)
        return load_model(entry.name, "random:0")


@pytest.fixture(scope="session")
def tiny_bundle(tiny: LoadedModel, once_a_run: OnceARun, tracing_once: TracingOnce) -> Path:
    """The tiny's fp32 ONNX bundle, exported once. Copy it before changing anything in it."""
    from edgedepth.exporters.base import ExportOptions, exporter_for

    with tracing_once():
        return once_a_run("tiny", lambda out: exporter_for("onnx").export(tiny, ExportOptions(), out))


@pytest.fixture(scope="session")
def tiny_windowed_bundle(tiny: LoadedModel, once_a_run: OnceARun, tracing_once: TracingOnce) -> Path:
    """The same with its decoder in windows too."""
    from edgedepth.exporters.base import ExportOptions, exporter_for

    options = ExportOptions(decoder_windows=True)
    with tracing_once():
        return once_a_run("tiny-windowed", lambda out: exporter_for("onnx").export(tiny, options, out))


@pytest.fixture
def known_tiny(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    """The tiny, and a registry that knows it: so that the reference of its bundles can be loaded."""
    from edgedepth.models.registry import MODELS

    monkeypatch.setitem(MODELS, tiny.entry.name, tiny.entry)
    return tiny
