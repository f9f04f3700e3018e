"""ONNX artefacts in ONNX Runtime against the eager reference's stages, on inputs that no tracer has seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgedepth.core.bundle import open_bundle
from edgedepth.core.errors import StageError
from edgedepth.core.session import Array, Session
from edgedepth.core.spec import Precision
from edgedepth.core.tolerances import tolerance_for
from edgedepth.exporters.base import ExportOptions
from edgedepth.exporters.golden import draw_golden_frame
from edgedepth.exporters.to_onnx import OnnxExporter
from edgedepth.exporters.to_onnx_stage import export_stage
from edgedepth.models.depth_pro_stages import stage_modules
from edgedepth.models.loading import LoadedModel
from edgedepth.models.module_session import module_stages, stage_specs
from edgedepth.programs.frames import as_rgb
from edgedepth.programs.opening import open_program
from edgedepth.programs.stages import StagePool
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.ort_session import OrtBackend, OrtSession
from edgedepth.verify.depth_errors import compare_depth, compare_tensors

CPU = SessionOptions(device="cpu")
STAGES = ("patch_encoder", "image_encoder", "decoder", "fov")


def feeds_for(session: Session, seed: int, tiles: int = 5) -> dict[str, Array]:
    """Smooth and noisy at once, as pictures and features are; another seed is another picture."""
    generator = np.random.default_rng(seed)
    feeds = {}
    for spec in session.inputs:
        shape = [tiles if isinstance(size, str) else size for size in spec.shape]
        wave = np.sin(np.linspace(0, 2 + seed, shape[-2]))[:, None] * np.cos(np.linspace(0, 3, shape[-1]) + seed)
        feeds[spec.name] = (0.5 * wave + 0.3 * generator.standard_normal(shape)).astype(np.float32)
    return feeds


def check_parity(actual: Session, expected: Session, precision: Precision, tiles: int = 5) -> None:
    """Two inputs at least, and different answers to them: a constant frozen at trace time passes on one."""
    results = []
    for seed in (1, 2):
        feeds = feeds_for(expected, seed, tiles)
        got, wanted = actual.run(feeds), expected.run(feeds)
        assert list(got) == [spec.name for spec in expected.outputs]
        for name in wanted:
            error = compare_tensors(got[name], wanted[name])
            # The table's reason holds here too: another order of adding, or fp16's 11 bits.
            assert error.max_rel <= tolerance_for(precision).stage_max_rel, (name, error)
        results.append(got)
    assert all(not np.allclose(results[0][name], results[1][name], rtol=1e-3) for name in results[0])


@pytest.fixture(scope="module")
def reference(mini: LoadedModel) -> Callable[[str], Session]:
    return module_stages(mini)


@pytest.mark.parametrize("stage", STAGES)
def test_fp32_stage(stage: str, mini_bundle: Path, reference: Callable[[str], Session]) -> None:
    check_parity(OrtBackend().open(open_bundle(mini_bundle), stage, CPU), reference(stage), "fp32")


@pytest.mark.parametrize("stage", ["patch_encoder", "decoder", "fov"])
def test_fp16_stage(stage: str, mini: LoadedModel, reference: Callable[[str], Session], tmp_path: Path) -> None:
    session = exported(mini, stage, tmp_path, precision="fp16", opset=20)
    assert all(spec.dtype == "float32" for spec in (*session.inputs, *session.outputs))
    check_parity(session, reference(stage), "fp16")


@pytest.mark.parametrize(("stage", "opset"), [("decoder", 17), ("fov", 17), ("fov", 18), ("fov", 19)])
def test_older_opsets(stage: str, opset: int, tiny: LoadedModel, tmp_path: Path) -> None:
    """decoder and fov together hold every operator there is; what changes by opset is all in fov.

    export_stage itself has checked that the file has the opset.
    """
    check_parity(exported(tiny, stage, tmp_path, opset=opset), module_stages(tiny)(stage), "fp32")


def test_dynamic_batch_takes_any_number_of_tiles(tiny: LoadedModel, tmp_path: Path) -> None:
    session = exported(tiny, "patch_encoder", tmp_path)
    assert session.inputs[0].shape[0] == "tiles"
    for tiles in (1, 7):
        check_parity(session, module_stages(tiny)("patch_encoder"), "fp32", tiles)


def test_fixed_batch_takes_no_other(mini_bundle: Path) -> None:
    session = OrtBackend().open(open_bundle(mini_bundle), "patch_encoder", CPU)
    for tiles in (1, 4, 6):
        with pytest.raises(StageError, match=rf"\({tiles}, 3, 128, 128\)"):
            session.run({"tiles": np.zeros((tiles, 3, 128, 128), np.float32)})


@pytest.mark.usefixtures("traced_once")
def test_single_graph(tiny: LoadedModel, tmp_path: Path) -> None:
    bundle = OnnxExporter().export(tiny, ExportOptions(layout="single"), tmp_path / "bundle")
    assert list(bundle.manifest.artefacts) == ["whole"]
    assert [stage.name for stage in bundle.manifest.model.stages] == ["whole"]
    assert bundle.manifest.tile_batch is None
    check_parity(OrtBackend().open(bundle, "whole", CPU), module_stages(tiny)("whole"), "fp32")


def test_metres_from_a_bundle_are_those_of_the_stages(
    mini_bundle: Path, mini: LoadedModel, reference: Callable[[str], Session]
) -> None:
    bundle = open_bundle(mini_bundle)
    tolerance = tolerance_for("fp32")
    rgb = as_rgb(draw_golden_frame()[::-1, ::-1], "rgb")
    with (
        StagePool(reference) as torch_pool,
        StagePool(lambda stage: OrtBackend().open(bundle, stage, CPU)) as onnx_pool,
    ):
        torch_program = open_program(mini.spec, torch_pool, layout="staged", tile_batch=5)
        onnx_program = open_program(bundle.manifest.model, onnx_pool, layout="staged", tile_batch=5)
        expected, actual = torch_program.predict(rgb), onnx_program.predict(rgb)
    error = compare_depth(actual.depth, expected.depth)
    assert error.abs_rel <= tolerance.abs_rel
    assert error.max_rel <= tolerance.max_rel
    assert abs(actual.fov_deg - expected.fov_deg) <= tolerance.fov_deg


def exported(
    model: LoadedModel, stage: str, folder: Path, *, precision: Precision = "fp32", opset: int = 20
) -> OrtSession:
    """A stage exported and opened, its named dimensions left open."""
    path = folder / f"{stage}.onnx"
    declared = stage_specs(model)[stage]
    export_stage(stage_modules(model.module)[stage], declared, path, precision=precision, opset=opset)
    return OrtSession(path, declared, CPU)
