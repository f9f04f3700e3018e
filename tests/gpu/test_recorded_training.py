"""A recorded step learns what a plain one does."""

from pathlib import Path

import numpy as np
import pytest
import torch

from edgedepth.models.depth_pro_config import DepthProConfig
from edgedepth.training.batches import DeviceScenes
from edgedepth.training.mini_tasks import TileTask
from edgedepth.training.run_folder import RunFolder
from edgedepth.training.scene_cache import CacheSettings, build_scene_cache
from edgedepth.training.tile_pretraining import TilePretraining
from edgedepth.training.training_loop import ON_GPU, Pace, PhaseSettings, run_phase

# torch.compile warns of what it does itself, and takes a warning that is an error for a fault of the compiled code.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

TINY = DepthProConfig(
    width=24, depth=2, heads=2, patch=16, tile=128, hooks=(0, 1), feature_dims=(8, 12, 16, 16), decoder_width=16
)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> DeviceScenes:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    settings = CacheSettings(first_seed=0, count=4, side=512)
    return DeviceScenes(build_scene_cache(tmp_path_factory.mktemp("scenes"), settings), torch.device("cuda:0"))


def test_a_recorded_phase_loses_as_a_plain_one_does(scenes: DeviceScenes, tmp_path: Path) -> None:
    def losses(name: str, *, recorded: bool) -> dict[int, float]:
        torch.manual_seed(0)
        folder = RunFolder(tmp_path / name, {})
        task = TileTask(TilePretraining(TINY), scenes, scenes, scenes)
        settings = PhaseSettings(name="tiles", steps=40, batch=12, peak_lr=1e-3, seed=1)
        device = torch.device("cuda:0")
        run_phase(task, settings, folder, device=device, pace=Pace(log_every=1, drawers=0, recorded=recorded))
        return {point.step: point.value for point in folder.curves if point.name == "loss"}

    plain, recorded = losses("plain", recorded=False), losses("recorded", recorded=True)
    assert plain.keys() == recorded.keys() == set(range(1, 41))
    # bfloat16 holds 3 digits, and other kernels round elsewhere; a step on a stale batch is off by half and more.
    ratios = np.array([recorded[step] / plain[step] for step in plain])
    assert np.abs(ratios - 1).max() < 0.05, ratios
    assert plain[40] < 0.8 * plain[1]


def test_a_recorded_phase_goes_on_after_a_stop(scenes: DeviceScenes, tmp_path: Path) -> None:
    settings = PhaseSettings(name="tiles", steps=12, batch=6, peak_lr=1e-3, seed=1)
    device, folder = torch.device("cuda:0"), tmp_path / "run"

    def part(stop_after: int | None) -> bool:
        torch.manual_seed(0)
        task = TileTask(TilePretraining(TINY), scenes, scenes, scenes)
        return run_phase(task, settings, RunFolder(folder, {}), device=device, pace=ON_GPU, stop_after=stop_after)

    assert not part(stop_after=6)
    assert part(stop_after=None)
    assert np.isfinite([point.value for point in RunFolder(folder, {}).curves]).all()
