"""A decoder in windows, as networks and artefacts have it: near fresh depth, and proven with the rest."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgedepth import EdgeDepth
from edgedepth.core.bundle import open_bundle, write_bundle
from edgedepth.core.errors import SelfTestError, UnsupportedError
from edgedepth.exporters.base import ExportOptions, exporter_for
from edgedepth.exporters.to_onnx_stage import export_stage
from edgedepth.models.depth_pro_config import decoder_window_stages
from edgedepth.models.depth_pro_stages import stage_modules
from edgedepth.models.loading import LoadedModel
from edgedepth.models.module_session import module_stages
from edgedepth.programs.depth_pro import DepthProProgram
from edgedepth.programs.reuse import ReusePolicy
from edgedepth.programs.stages import StagePool
from edgedepth.training.scenes import HELD_OUT_SEED, render_scene
from edgedepth.verify.depth_errors import compare_depth
from edgedepth.verifying import verify_bundle

WINDOWS = ("decoder_coarse", "decoder_window")


def movers(count: int) -> list[np.ndarray]:
    """A scene in which a square of 8 pixels moves by 2 a frame, (240, 320, 3) uint8."""
    scene = render_scene(HELD_OUT_SEED + 7, width=320, height=240).image
    texture = np.random.default_rng(1).integers(0, 255, (8, 8, 3), np.uint8)
    frames = []
    for number in range(count):
        frame = scene.copy()
        frame[120:128, 40 + 2 * number : 48 + 2 * number] = texture
        frames.append(frame)
    return frames


def test_the_trained_mini_stays_within_the_threshold(trained_mini: LoadedModel) -> None:
    """And it is windows that run: at 0.02 the mini, whose coarse features follow the mover, keeps most of its depth."""
    spec = trained_mini.spec
    windowed = replace(spec, stages=(*spec.stages, *decoder_window_stages(trained_mini.entry.config)))
    open_stage = module_stages(trained_mini)
    with StagePool(open_stage) as pool, StagePool(open_stage) as fresh_pool:
        reusing = DepthProProgram(windowed, pool, tile_batch=5)
        fresh = DepthProProgram(spec, fresh_pool, tile_batch=5)
        windows, errors = [], []
        for frame in movers(6):
            rgb = frame.astype(np.float32) / np.float32(255)
            got = reusing.predict(rgb, focal_px=300, reuse=ReusePolicy(threshold=0.02))
            windows.append(got.encoded.windows if "decoder_window" in got.encoded.stages else None)
            errors.append(compare_depth(got.depth, fresh.predict(rgb, focal_px=300).depth).abs_rel)
    assert windows[0] is None
    assert sum(count is not None for count in windows[1:]) >= 3
    assert errors[0] < 1e-5  # computed whole
    assert max(errors) < 0.02


def test_a_bundle_with_windows_serves_and_is_proven(
    tiny_windowed_bundle: Path, tiny_bundle: Path, known_tiny: LoadedModel
) -> None:
    del known_tiny
    model = open_bundle(tiny_windowed_bundle).manifest.model
    assert [stage.name for stage in model.stages][-2:] == list(WINDOWS)
    frames = movers(3)
    with EdgeDepth(tiny_windowed_bundle, color="rgb") as windowed, EdgeDepth(tiny_bundle, color="rgb") as plain:
        for frame in frames:
            got = windowed.infer(frame, focal_px=300, reuse=0.05)
            want = plain.infer(frame, focal_px=300)
            assert compare_depth(got.depth, want.depth).abs_rel < 0.05
            kept = plain.infer(frame, focal_px=300, reuse=0.05)  # a bundle from before: decoded whole
            assert not set(WINDOWS) & set(kept.encoded.stages)
        assert set(WINDOWS) <= set(got.encoded.stages)
        fresh = windowed.infer(frames[-1], focal_px=300)
        assert fresh.encoded.stages == ("patch_encoder", "image_encoder", "decoder")
        # onnxruntime computes the same graph of the same weights; the bits are those of the bundle without windows.
        assert np.array_equal(fresh.depth, want.depth)
    report = verify_bundle(tiny_windowed_bundle, [frames[0], frames[2][::-1].copy()])
    assert report.passed
    assert set(report.stages) >= set(WINDOWS)


@pytest.mark.parametrize("stage", WINDOWS)
def test_an_artefact_that_computes_something_else_is_not_served(
    tiny: LoadedModel, tiny_windowed_bundle: Path, tmp_path: Path, stage: str
) -> None:
    """A planted fault in a stage that fresh frames never meet: the golden frame meets it."""
    right = open_bundle(tiny_windowed_bundle)
    module = copy.deepcopy(stage_modules(tiny.module)[stage])
    with torch.no_grad():
        for name, weights in module.named_parameters():
            if name.startswith("decoder.refine.2" if stage == "decoder_coarse" else "decoder.refine.0"):
                weights.mul_(1.5)
    with write_bundle(tmp_path / "bundle") as writer:
        for name in right.manifest.files:
            (writer.folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(right.file(name), writer.folder / name)
        artefact = right.manifest.artefacts[stage]
        export_stage(module, artefact.stage, writer.folder / artefact.path, precision="fp32", opset=20)
        writer.finish(replace(right.manifest, files=writer.file_entries()))
    with pytest.raises(SelfTestError) as caught, EdgeDepth(tmp_path / "bundle") as model:
        model.infer(movers(1)[0])
    assert stage in str(caught.value)


def test_where_windows_are_refused(tiny: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="never tried on Core ML"):
        exporter_for("coreml").export(tiny, ExportOptions(precision="fp16", decoder_windows=True), tmp_path / "bundle")
