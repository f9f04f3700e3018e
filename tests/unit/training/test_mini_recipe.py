"""The whole recipe, on a model of a few thousand weights and a handful of scenes."""

import csv
import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import edgedepth
from edgedepth.core.errors import TrainingError
from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_config import DEPTH_PRO_MINI, DepthProConfig
from edgedepth.training.curves import plot_curves
from edgedepth.training.mini_recipe import MINI, PHASES, Recipe, train_mini
from edgedepth.training.scene_cache import CacheSettings
from edgedepth.training.training_loop import PhaseSettings

TINY = DepthProConfig(
    width=24, depth=2, heads=2, patch=16, tile=128, hooks=(0, 1), feature_dims=(8, 12, 16, 16), decoder_width=16
)


def small_recipe(steps: int = 2) -> Recipe:
    def phase(name: str, seed: int) -> PhaseSettings:
        return PhaseSettings(name=name, steps=steps, batch=3, peak_lr=1e-3, seed=seed)

    return Recipe(
        model=TINY,
        large=CacheSettings(first_seed=0, count=3, side=512),
        small=CacheSettings(first_seed=50, count=6, side=192),
        held_out=CacheSettings(first_seed=900_000, count=2, side=512),
        phases=(phase("tiles", 1), phase("stage-one", 2), phase("stage-two", 3), phase("fov", 4)),
    )


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, scenes: Path) -> Path:
    out = tmp_path_factory.mktemp("training") / "run"
    assert train_mini(out, scenes, recipe=small_recipe()) == out / "model.safetensors"
    return out


def test_every_phase_leaves_weights_that_the_model_takes(run: Path) -> None:
    for phase in PHASES[1:]:
        DepthPro(TINY).load_state_dict(load_file(run / f"{phase}.safetensors"))


def test_each_phase_changes_what_is_its_own_and_nothing_else(run: Path) -> None:
    one, two, fov = (load_file(run / f"{phase}.safetensors") for phase in PHASES[1:])

    def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
        return {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}

    assert changed(one, two) == {"encoder", "decoder", "head"}
    assert changed(two, fov) == {"fov"}


def test_pretraining_reaches_all_three_transformers(run: Path) -> None:
    tiles, one = load_file(run / "tiles.safetensors"), load_file(run / "stage-one.safetensors")
    name = "blocks.0.mlp.fc1.weight"
    # The field of view is not trained before the last phase: its transformer is still the pretrained one.
    assert torch.equal(one[f"fov.encoder.0.{name}"], tiles[f"vit.{name}"])
    trained = one[f"encoder.patch_encoder.{name}"] - tiles[f"vit.{name}"]
    assert 0 < trained.abs().max() < 0.01  # two steps of 3e-4 from it


def test_the_shipped_file_is_the_last_phase_in_half_precision(run: Path) -> None:
    shipped, last = load_file(run / "model.safetensors"), load_file(run / "fov.safetensors")
    assert shipped.keys() == last.keys()
    assert all(tensor.dtype == torch.float16 for tensor in shipped.values())
    assert all(torch.equal(shipped[name], last[name].half()) for name in last)


def test_curves_hold_every_phase_and_are_plotted(run: Path, tmp_path: Path) -> None:
    with (run / "curves.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert {row["phase"] for row in rows} == set(PHASES)
    assert {"val_delta1", "val_focal_delta25", "loss"} <= {row["name"] for row in rows}
    picture = plot_curves(run / "curves.csv", tmp_path / "curves.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_same_recipe_gives_the_same_weights_and_takes_what_is_done(run: Path, scenes: Path, tmp_path: Path) -> None:
    told: list[str] = []
    again = train_mini(tmp_path / "run", scenes, recipe=small_recipe())
    mine, theirs = load_file(again), load_file(run / "model.safetensors")
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    train_mini(tmp_path / "run", scenes, recipe=small_recipe(), announce=told.append)
    assert told == [f"{phase}: done before" for phase in PHASES]


def test_other_settings_are_refused(run: Path, scenes: Path) -> None:
    with pytest.raises(TrainingError, match="other settings"):
        train_mini(run, scenes, recipe=small_recipe(steps=3))


def test_a_killed_run_goes_on(run: Path, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import test_mini_recipe as t; "
        "t.train_mini(Path(sys.argv[2]), Path(sys.argv[3]), recipe=t.small_recipe())"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(out), str(scenes)]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while not (out / "stage-one.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (out / "stage-one.safetensors").exists()
    mine = load_file(train_mini(out, scenes, recipe=small_recipe()))
    theirs = load_file(run / "model.safetensors")
    # Another process may sum in another order, and fp16 then round to the other side.
    assert all(torch.allclose(mine[name].float(), theirs[name].float(), atol=1e-5, rtol=2e-3) for name in theirs)


def test_rendering_beside_the_training_is_refused_without_a_gpu_before_anything_is_made(tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(TrainingError, match="only where a GPU holds the scenes, and cpu doesn't") as caught:
        train_mini(tmp_path / "run", tmp_path / "scenes", recipe=small_recipe(), ahead=0.5, announce=told.append)
    assert caught.value.remedy == "--ahead 1"
    assert list(tmp_path.iterdir()) == []
    assert told == []


@pytest.mark.parametrize("ahead", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_ahead_that_is_none_is_refused_before_anything_is_made(tmp_path: Path, ahead: float) -> None:
    with pytest.raises(TrainingError, match="more than 0 and at most 1") as caught:
        train_mini(tmp_path / "run", tmp_path / "scenes", recipe=small_recipe(), ahead=ahead)
    assert caught.value.remedy == "--ahead 1"
    assert list(tmp_path.iterdir()) == []


def test_effort_shortens_everything_alike() -> None:
    short = MINI.shortened(0.01)
    assert short.large.count == round(MINI.large.count * 0.01)
    assert [p.steps for p in short.phases] == [max(1, round(p.steps * 0.01)) for p in MINI.phases]
    assert (
        dataclasses.replace(short, large=MINI.large, small=MINI.small, held_out=MINI.held_out, phases=MINI.phases)
        == MINI
    )
    for effort in (0, 1.5, float("nan")):
        with pytest.raises(TrainingError, match="effort"):
            MINI.shortened(effort)


def test_a_share_of_the_batches_is_for_little_memory() -> None:
    small = MINI.shortened(1.0, batches=0.01)
    assert [phase.batch for phase in small.phases] == [5, 3, 3, 5]  # a hundredth of 512, 32, 32 and 512, but three
    assert dataclasses.replace(small, phases=MINI.phases) == MINI
    for batches in (0, 1.5, float("nan")):
        with pytest.raises(TrainingError, match="batches"):
            MINI.shortened(1.0, batches=batches)


def test_the_shipped_weights_settings_are_the_recipe() -> None:
    held = json.loads((Path(edgedepth.__file__).parent / "models/shipped/depth_pro_mini/settings.json").read_text())
    assert held == {"recipe": json.loads(json.dumps(dataclasses.asdict(MINI)))}


def test_the_recipe_trains_the_registrys_mini_on_scenes_of_its_size() -> None:
    assert MINI.model is DEPTH_PRO_MINI
    assert MINI.large.side == DEPTH_PRO_MINI.input_size
    assert tuple(phase.name for phase in MINI.phases) == PHASES
