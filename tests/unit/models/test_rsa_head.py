"""Both layouts of the head against plain numpy, and the released heads where they are at hand."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from edgedepth.core.errors import WeightsError, WeightsMismatchError
from edgedepth.models.registry import model_entry
from edgedepth.models.rsa_head import FIGURES, ScaleShiftHead, head_figures, load_head
from edgedepth.models.rsa_head_config import FIVE_LAYERS, THREE_LAYERS, HeadConfig, scale_shift_stage

RELEASED = Path(os.environ.get("EDGEDEPTH_RSA_HEADS", Path(__file__).resolve().parents[4] / "shared" / "rsa"))
"""A folder with da_lanscale, dpt_lanscale and midas_lanscale, which their publisher gave no licence."""

released = pytest.mark.skipif(
    not RELEASED.is_dir(),
    reason="the released heads are not beside this checkout (../shared/rsa, or EDGEDEPTH_RSA_HEADS)",
)
NAMES = ("da_lanscale", "dpt_lanscale", "midas_lanscale")


def by_hand(state: dict[str, torch.Tensor], features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The published formula in float64, from nothing but the tensors."""

    def net(name: str, x: np.ndarray) -> np.ndarray:
        numbers = sorted(int(key.split(".")[1]) for key in state if key.startswith(name) and key.endswith("weight"))
        for number in numbers:
            weight, bias = (state[f"{name}.{number}.{part}"].double().numpy() for part in ("weight", "bias"))
            x = x @ weight.T + bias
            if number != numbers[-1]:
                x = np.where(x > 0, x, 0.01 * x)
        return x

    scene = net("scene_feat_net", features.astype(np.float64))
    return np.exp(net("scale_net", scene)), np.exp(net("shift_net", scene))


def check(model: ScaleShiftHead, state: dict[str, torch.Tensor]) -> None:
    features = np.random.default_rng(5).normal(0, 0.5, (64, model.config.text)).astype(np.float32)
    with torch.inference_mode():
        found = model(torch.from_numpy(features))
    for ours, expected in zip(found, by_hand(state, features), strict=True):
        assert ours.shape == (64, 1)
        assert (ours > 0).all()
        # computed in float64 and rounded once to float32, which costs 6e-8
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-7)
    with torch.inference_mode():
        as_exported = model.in_float32(torch.from_numpy(features))
    for ours, expected in zip(as_exported, by_hand(state, features), strict=True):
        # float32 rounds a logarithm of -6 by 5e-7, and the exponential makes that a relative error
        np.testing.assert_allclose(ours.numpy(), expected, rtol=2e-6)


@pytest.mark.parametrize("config", [THREE_LAYERS, FIVE_LAYERS, HeadConfig(text=32, scene=(16, 8), own=(4, 1))])
def test_any_layout_loads_by_its_shapes_and_computes_the_formula(config: HeadConfig, tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = ScaleShiftHead(config).state_dict()
    torch.save(state, tmp_path / "head")
    loaded = load_head(tmp_path / "head", config.text)
    assert loaded.config == config
    check(loaded, state)


def test_sizes_are_the_published_ones() -> None:
    with torch.device("meta"):
        counts = [sum(p.numel() for p in ScaleShiftHead(config).parameters()) for config in (THREE_LAYERS, FIVE_LAYERS)]
    assert counts == [804_354, 1_494_274]
    assert [tensor.name for tensor in scale_shift_stage(THREE_LAYERS).outputs] == ["scale", "shift"]


def test_scale_and_shift_are_not_interchanged(tmp_path: Path) -> None:
    """Planted: the same head with its two nets swapped gives the other way round."""
    torch.manual_seed(2)
    state = ScaleShiftHead(THREE_LAYERS).state_dict()
    swap = {"scale_net": "shift_net", "shift_net": "scale_net"}
    torch.save(state, tmp_path / "head")
    torch.save({".".join([swap.get(k.split(".")[0], k.split(".")[0]), *k.split(".")[1:]]): v for k, v in state.items()},
               tmp_path / "swapped")  # fmt: skip
    features = torch.ones(1, 1024)
    scale, shift = load_head(tmp_path / "head")(features)
    assert not torch.allclose(scale, shift)
    assert torch.equal(torch.cat(load_head(tmp_path / "swapped")(features)), torch.cat((shift, scale)))


def test_a_head_for_another_text_width_is_refused(tmp_path: Path) -> None:
    torch.save(ScaleShiftHead(THREE_LAYERS).state_dict(), tmp_path / "head")
    with pytest.raises(WeightsMismatchError, match=r"1024 channels; this text encoder gives 512"):
        load_head(tmp_path / "head", 512)


def test_what_is_no_head_is_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.ones(3, 3)}, tmp_path / "other")
    with pytest.raises(WeightsMismatchError, match="not an RSA head"):
        load_head(tmp_path / "other")
    state = ScaleShiftHead(THREE_LAYERS).state_dict()
    torch.save({**state, "scale_net.4.bias": torch.full((1,), torch.nan)}, tmp_path / "nan")
    with pytest.raises(WeightsError, match="NaN"):
        load_head(tmp_path / "nan")
    del state["shift_net.2.bias"]
    torch.save(state, tmp_path / "short")
    with pytest.raises(WeightsMismatchError, match=r"1 missing: shift_net\.2\.bias"):
        load_head(tmp_path / "short")
    assert head_figures(tmp_path / "short") == {}


@released
@pytest.mark.parametrize("name", NAMES)
def test_a_released_head_loads_and_computes_the_formula(name: str) -> None:
    model = load_head(RELEASED / name, 1024)
    assert model.config == THREE_LAYERS
    check(model, torch.load(RELEASED / name, map_location="cpu", weights_only=True)["model"])


@released
@pytest.mark.parametrize(
    ("model", "head"),
    [("rsa-depth-anything", "da_lanscale"), ("rsa-dpt", "dpt_lanscale"), ("rsa-midas", "midas_lanscale")],
)
def test_the_listed_figures_are_the_heads_own(model: str, head: str) -> None:
    found = head_figures(RELEASED / head)
    for data_set, figures in model_entry(model).figures.items():
        for metric, value in figures.items():
            assert found[data_set][metric] == pytest.approx(value, abs=5e-5)
    assert set(model_entry(model).figures) == set(found)


@released
def test_the_released_heads_tell_their_figures() -> None:
    figures = head_figures(RELEASED / "da_lanscale")
    assert set(figures) == {"kitti", "nyu"}
    assert tuple(figures["nyu"]) == FIGURES
    assert figures["nyu"]["abs_rel"] == pytest.approx(0.1418, abs=1e-4)
    assert figures["kitti"]["delta1"] == pytest.approx(0.7920, abs=1e-4)
