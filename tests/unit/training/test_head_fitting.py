"""Fitting a head: planted scales are found, stopping changes nothing, nonsense is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgedepth.core.errors import TrainingError
from edgedepth.models.rsa_head_config import HeadConfig
from edgedepth.training.head_fitting import FitPairs, FitSettings, fit_head, kept_back, loss_of
from edgedepth.training.rsa_baselines import fit_baselines, load_baselines, save_baselines
from edgedepth.training.run_folder import RunFolder

CONFIG = HeadConfig(text=4, scene=(16,), own=(8, 1))
QUICK = FitSettings(epochs=40, batch=8, first_lr=1e-2, last_lr=1e-4, patience=40, held_back=0.2)
PLANTED = torch.tensor([[0.5, 0.4], [0.05, 0.1], [0.2, 0.3], [0.02, 0.05]])  # 1/m, of the four places


def planted(count: int = 64, *, seed: int = 0) -> FitPairs:
    """Pictures of four places whose captions name the place, each by two captions, and whose depth follows exactly."""
    random = np.random.default_rng(seed)
    places = torch.arange(count) % 4
    relative = torch.from_numpy(random.uniform(0, 10, (count, 32)).astype(np.float32))
    scale, shift = PLANTED[places].T[:, :, None]
    features = torch.eye(4)[places].repeat_interleave(2, 0)
    return FitPairs(
        features=features + torch.from_numpy(random.normal(0, 0.05, (2 * count, 4)).astype(np.float32)),
        owners=torch.arange(count).repeat_interleave(2),
        relative=relative,
        depth_m=1 / (scale * relative + shift),
    )


@pytest.mark.parametrize("loss", ["l1", "huber", "log"])
def test_the_scale_that_captions_tell_is_found(loss: str) -> None:
    pairs = planted()
    fit = fit_head(pairs, CONFIG, replace(QUICK, loss=loss))  # type: ignore[arg-type]
    scale, shift = fit.head(torch.eye(4))
    found = torch.cat((scale, shift), 1)
    # The captions are noisy, so the planted values are approached and not met.
    torch.testing.assert_close(found, PLANTED, rtol=0.35, atol=0.02)
    one = fit_baselines(pairs, torch.ones(64, 3), replace(QUICK, loss=loss))  # type: ignore[arg-type]
    constant = loss_of(torch.tensor(one.scale), torch.tensor(one.shift), pairs.relative, pairs.depth_m, QUICK)
    assert fit.loss < 0.3 * float(constant)  # one scale for all pictures can't do that


def test_the_global_row_is_the_best_of_all_constants() -> None:
    """Against a search over a grid of both."""
    pairs = planted()
    settings = replace(QUICK, loss="log")
    train, _ = kept_back(len(pairs), settings)
    best = fit_baselines(pairs, torch.ones(64, 3), settings)

    def loss(scale: float, shift: float) -> float:
        return float(
            loss_of(torch.tensor(scale), torch.tensor(shift), pairs.relative[train], pairs.depth_m[train], settings)
        )

    grid = np.geomspace(0.01, 1, 41)
    searched = min(loss(scale, shift) for scale in grid for shift in grid)
    assert loss(best.scale, best.shift) < 1.005 * searched


def test_a_stopped_fit_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    settings = replace(QUICK, epochs=6)
    whole = fit_head(planted(), CONFIG, settings)

    def stop(_: str, done: int, __: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_head(planted(), CONFIG, settings, RunFolder(tmp_path / "run", {}), progress=stop)
    resumed = fit_head(planted(), CONFIG, settings, RunFolder(tmp_path / "run", {}))
    assert resumed.epochs == 6
    for name, tensor in whole.head.state_dict().items():
        assert torch.equal(resumed.head.state_dict()[name], tensor), name


def test_the_best_epoch_is_kept_and_a_fit_that_gets_no_better_ends() -> None:
    settings = replace(QUICK, epochs=200, first_lr=0.5, last_lr=0.5, patience=3)  # far too fast
    fit = fit_head(planted(), CONFIG, settings)
    assert fit.epochs == fit.epoch + 3 < 200


def test_pictures_of_validation_are_not_fitted_to() -> None:
    train, held = kept_back(50, QUICK)
    assert sorted(torch.cat((train, held)).tolist()) == list(range(50))
    assert len(held) == 10
    assert kept_back(50, QUICK)[1].tolist() == held.tolist()


def test_the_rate_falls_as_published() -> None:
    settings = FitSettings()
    assert settings.learning_rate(0) == pytest.approx(3e-5)
    assert settings.learning_rate(0.5) == pytest.approx(1e-5 + 2e-5 * 0.5**0.9)
    assert settings.learning_rate(1) == pytest.approx(1e-5)


def test_depth_is_cut_to_the_range_as_published() -> None:
    relative, true = torch.tensor([[0.0, 10.0]]), torch.tensor([[80.0, 1e-3]])
    scale, shift = torch.tensor([[1e6]]), torch.tensor([[1e-9]])  # 1e9 m and 1e-7 m
    assert float(loss_of(scale, shift, relative, true, FitSettings())) == pytest.approx(0, abs=1e-4)


class TestBadInput:
    def test_another_width(self) -> None:
        with pytest.raises(TrainingError, match="takes 1024 features and is given 4"):
            fit_head(planted(), HeadConfig(text=1024, scene=(8,), own=(1,)), QUICK)

    @pytest.mark.parametrize("what", ["relative", "depth_m", "features"])
    def test_values_that_are_none(self, what: str) -> None:
        values = {name: getattr(planted(), name) for name in ("features", "owners", "relative", "depth_m")}
        values[what] = values[what].clone()
        values[what][0, 0] = float("nan")
        with pytest.raises(TrainingError, match="NaN, infinite or negative"):
            FitPairs(**values)

    def test_one_picture(self) -> None:
        with pytest.raises(TrainingError, match="two pictures at least"):
            fit_head(planted(1), CONFIG, QUICK)

    @pytest.mark.parametrize(
        "change",
        [{"epochs": 0}, {"first_lr": 0.0}, {"last_lr": 1e-3}, {"loss": "l2"}, {"held_back": 1.0}, {"max_depth_m": 0.0}],
    )
    def test_settings(self, change: dict[str, object]) -> None:
        with pytest.raises(TrainingError, match=next(iter(change))):
            FitSettings(**change)  # type: ignore[arg-type]

    def test_a_run_of_other_settings(self, tmp_path: Path) -> None:
        RunFolder(tmp_path / "run", {"fit": 1})
        with pytest.raises(TrainingError, match="other settings"):
            RunFolder(tmp_path / "run", {"fit": 2})


def test_baselines_are_kept_and_read(tmp_path: Path) -> None:
    descriptors = torch.from_numpy(np.random.default_rng(0).random((64, 5)).astype(np.float32))
    fitted = fit_baselines(planted(), descriptors, replace(QUICK, epochs=2))
    save_baselines(fitted, tmp_path / "baselines.safetensors")
    read = load_baselines(tmp_path / "baselines.safetensors")
    assert (read.scale, read.shift) == pytest.approx((fitted.scale, fitted.shift))
    assert read.of_picture(descriptors[3]) == pytest.approx(fitted.of_picture(descriptors[3]))
