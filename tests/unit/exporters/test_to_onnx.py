"""ONNX bundles as folders: what is in them, and what is left when an export fails."""

from __future__ import annotations

import logging
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from edgedepth.core.bundle import open_bundle
from edgedepth.core.errors import ExportFailedError, MissingExtraError, OutputError, UnsupportedError
from edgedepth.core.manifest import SCHEMA_VERSION
from edgedepth.core.spec import StageSpec, TensorSpec
from edgedepth.exporters.base import ExportOptions
from edgedepth.exporters.to_onnx import OnnxExporter
from edgedepth.exporters.to_onnx_stage import export_stage
from edgedepth.models.depth_pro_stages import stage_modules
from edgedepth.models.loading import LoadedModel
from edgedepth.models.module_session import stage_specs

STAGES = ["patch_encoder", "image_encoder", "decoder", "fov"]
VECTOR = StageSpec(
    name="vector",
    inputs=(TensorSpec(name="x", dtype="float32", shape=(4,)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=(4,)),),
)


class TestBundle:
    def test_it_opens_with_every_hash_right(self, mini_bundle: Path) -> None:
        open_bundle(mini_bundle, check_hashes=True)

    def test_manifest(self, mini_bundle: Path, mini: LoadedModel) -> None:
        manifest = open_bundle(mini_bundle).manifest
        assert manifest.schema_version == SCHEMA_VERSION
        assert manifest.model == mini.spec
        assert (manifest.target, manifest.precision, manifest.layout) == ("onnx", "fp32", "staged")
        assert manifest.tile_batch == 5
        assert list(manifest.artefacts) == sorted(STAGES)
        assert manifest.device is None
        assert {"torch", "onnx", "onnxscript", "python", "edgedepth"} <= set(manifest.toolchain)

    def test_the_tile_batch_is_fixed_in_the_declaration(self, mini_bundle: Path, mini: LoadedModel) -> None:
        stage = open_bundle(mini_bundle).manifest.artefacts["patch_encoder"].stage
        assert stage.inputs[0].shape == (5, *mini.spec.stage("patch_encoder").inputs[0].shape[1:])
        assert all(spec.shape[0] == 5 for spec in stage.outputs)

    def test_weights_lie_beside_the_graph_inside_of_the_bundle(self, mini_bundle: Path) -> None:
        bundle = open_bundle(mini_bundle)
        assert set(bundle.manifest.files) == {"golden.npz"} | {
            f"{stage}/{stage}.onnx{suffix}" for stage in STAGES for suffix in ("", ".data")
        }
        for stage, artefact in bundle.manifest.artefacts.items():
            model = onnx.load(str(bundle.file(artefact.path)), load_external_data=False)
            places = {
                entry.value
                for tensor in model.graph.initializer
                for entry in tensor.external_data
                if entry.key == "location"
            }
            assert places == {f"{stage}.onnx.data"}


class TestExport:
    def test_it_tells_of_every_step_and_of_nothing_else(
        self, tiny: LoadedModel, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        steps: list[tuple[str, int, int]] = []
        with caplog.at_level(logging.INFO):
            OnnxExporter().export(
                tiny, ExportOptions(opset=17), tmp_path / "b", progress=lambda *step: steps.append(step)
            )
        assert [step for step, _, _ in steps] == [
            *(f"stage {name}" for name in STAGES),
            "golden frame",
            "hashing",
            "exported",
        ]
        assert [(done, total) for _, done, total in steps] == [(number, 6) for number in range(7)]
        # The exporter's chatter stays inside: opset 17 is where it has most to say.
        assert capfd.readouterr() == ("", "")
        assert not [record for record in caplog.records if record.levelno >= logging.INFO]

    def test_twice_gives_the_same_bytes(self, tiny: LoadedModel, tmp_path: Path) -> None:
        modules, specs = stage_modules(tiny.module), stage_specs(tiny)
        for run in "ab":
            (tmp_path / run).mkdir()
            path = tmp_path / run / "fov.onnx"
            export_stage(modules["fov"], specs["fov"], path, precision="fp16", opset=20)
        for name in ("fov.onnx", "fov.onnx.data"):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    def test_fp16_halves_the_file_and_leaves_the_reference_alone(self, tiny: LoadedModel, tmp_path: Path) -> None:
        before = {name: tensor.clone() for name, tensor in tiny.module.state_dict().items()}
        module = stage_modules(tiny.module)["decoder"]
        export_stage(module, stage_specs(tiny)["decoder"], tmp_path / "d.onnx", precision="fp16", opset=20)
        fp32_bytes = 4 * sum(weight.numel() for weight in module.parameters())
        assert (tmp_path / "d.onnx.data").stat().st_size < 0.6 * fp32_bytes  # what stays fp32 is small
        after = tiny.module.state_dict()
        assert all(tensor.dtype == torch.float32 and torch.equal(tensor, after[n]) for n, tensor in before.items())


class Branching(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x + 1,) if x.sum() > 0 else (x - 1,)


class Overflowing(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((4,), 1e6))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x * self.weight,)


class Misshapen(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x[:2],)


@pytest.fixture
def file_size_limit() -> Iterator[Callable[[int], None]]:
    """Lets this process write files of that many bytes: what a full disk looks like from inside."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
    signal.signal(signal.SIGXFSZ, handler)


class TestFailure:
    def test_what_torch_cannot_export_is_told_by_stage(self, tmp_path: Path) -> None:
        with pytest.raises(ExportFailedError, match=r"stage vector: .*data-dependent"):
            export_stage(Branching(), VECTOR, tmp_path / "m.onnx", precision="fp32", opset=20)

    def test_a_graph_of_another_shape_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ExportFailedError, match="outputs"):
            export_stage(Misshapen(), VECTOR, tmp_path / "m.onnx", precision="fp32", opset=20)

    def test_weights_beyond_fp16_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UnsupportedError, match="weight"):
            export_stage(Overflowing(), VECTOR, tmp_path / "m.onnx", precision="fp16", opset=20)

    def test_a_full_disk_is_told_and_leaves_nothing(
        self, tiny: LoadedModel, tmp_path: Path, file_size_limit: Callable[[int], None]
    ) -> None:
        file_size_limit(4096)
        with pytest.raises(OutputError, match="can't be written"):
            OnnxExporter().export(tiny, ExportOptions(), tmp_path / "bundle")
        assert not [path for path in tmp_path.iterdir() if path.is_dir()]

    @pytest.mark.parametrize("megabytes", [6, 20], ids=["the first stage", "the second stage"])
    def test_a_disk_that_fills_up_is_told_and_leaves_nothing(
        self, mini: LoadedModel, tmp_path: Path, megabytes: int
    ) -> None:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(tmp_path)]
        if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small tmpfs needs root on Linux")
        try:
            with pytest.raises(OutputError, match="can't be written") as caught:
                OnnxExporter().export(mini, ExportOptions(), tmp_path / "bundle")
            assert "free space" in caught.value.remedy
            assert not [path for path in tmp_path.iterdir() if path.is_dir()]
        finally:
            subprocess.run(["umount", "-l", str(tmp_path)], check=True)

    def test_a_failed_export_leaves_the_old_bundle(
        self, mini: LoadedModel, mini_bundle: Path, tiny: LoadedModel, tmp_path: Path
    ) -> None:
        old = shutil.copytree(mini_bundle, tmp_path / "bundle")
        broken = replace(tiny, entry=mini.entry, spec=mini.spec)  # the mini's declarations on the tiny's weights
        with pytest.raises(ExportFailedError, match="stage patch_encoder"):
            OnnxExporter().export(broken, ExportOptions(), old)
        assert open_bundle(old).manifest == open_bundle(mini_bundle).manifest

    def test_a_missing_toolchain_is_told_in_one_line(
        self, tiny: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import sys

        monkeypatch.setitem(sys.modules, "onnxscript", None)
        with pytest.raises(MissingExtraError, match=r"edgedepth\[export\]"):
            OnnxExporter().export(tiny, ExportOptions(), tmp_path / "bundle")


def test_golden_frame_of_the_mini_is_not_flat(mini_bundle: Path) -> None:
    archive: Any
    with np.load(mini_bundle / "golden.npz") as archive:
        depth = archive["depth"]
    assert depth.std() / depth.mean() > 0.01
