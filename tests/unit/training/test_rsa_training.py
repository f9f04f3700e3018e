"""rsa-mini's phases on a few scenes: what a network starts from, what its loss is blind to, what captions teach."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="networks of relative depth need the rsa extra: transformers")
pytest.importorskip("tokenizers", reason="captions need the captions extra: tokenizers")

from edgedepth.core.errors import TrainingError
from edgedepth.models.clip_text_config import ClipTextConfig
from edgedepth.models.relative import RelativeDepth, build_network
from edgedepth.models.relative_config import DEPTH_ANYTHING_MINI
from edgedepth.models.vit import ViT
from edgedepth.training.relative_task import aligned_abs_rel, start_from, stretched
from edgedepth.training.rsa_recipe import RSA_RECIPE, train_rsa_mini
from edgedepth.training.scenes import SceneObject
from edgedepth.training.text_task import ContrastiveText, SceneFacts, TextTask, without_padding

SIDE = 128  # depth-pro-mini's tile: positions are taken as they are


@pytest.fixture(scope="module")
def maps() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).uniform(0.05, 3, (2, 1, 32, 32)).astype(np.float32))


def test_the_encoder_starts_as_the_vision_transformer_that_it_was_given() -> None:
    options = dict(DEPTH_ANYTHING_MINI.options)
    options["backbone_config"] = options["backbone_config"] | {"image_size": SIDE}
    config = replace(
        DEPTH_ANYTHING_MINI, options=options, preprocess=replace(DEPTH_ANYTHING_MINI.preprocess, size=SIDE)
    )
    torch.manual_seed(0)
    vit = ViT(side=SIDE, patch=16, width=192, depth=6, heads=3).eval()
    for parameter in vit.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    module = RelativeDepth(build_network(config))
    start_from(module, vit)
    seen: list[torch.Tensor] = []
    module.network.neck.register_forward_pre_hook(lambda _, arguments: seen.extend(arguments[0]))  # type: ignore[union-attr,operator]
    picture = torch.rand(1, 3, SIDE, SIDE) * 2 - 1
    with torch.inference_mode():
        module(picture)
        expected = vit(picture)[-1]
    torch.testing.assert_close(seen[-1], expected, rtol=1e-4, atol=1e-5)  # two implementations of one formula


def test_the_target_is_the_same_whatever_the_scale_and_shift(maps: torch.Tensor) -> None:
    torch.testing.assert_close(stretched(7 * maps + 2), stretched(maps), rtol=1e-4, atol=1e-4)
    assert stretched(maps).median() == pytest.approx(5, abs=0.5)  # of values between 0 and 10 and somewhat beyond


def test_alignment_makes_a_scaled_and_shifted_truth_perfect(maps: torch.Tensor) -> None:
    assert aligned_abs_rel(4 * maps + 1, maps) < 1e-5
    assert aligned_abs_rel(torch.rand_like(maps), maps) > 0.3


def test_captions_learn_to_find_their_pictures() -> None:
    """Two places whose pictures have opposite features."""
    places = ["street", "table-top"] * 16
    things = [(SceneObject("car" if place == "street" else "cup", 2),) for place in places]
    facts = SceneFacts(
        features=torch.tensor([[1.0, -1.0] if place == "street" else [-1.0, 1.0] for place in places]),
        places=places,
        objects=things,
    )
    module = ContrastiveText(ClipTextConfig(width=16, heads=2, layers=1, projection=8), 2, seed=0)
    task = TextTask(module, facts, facts)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    first = float(sum(task.loss(task.draw(np.random.default_rng(0), 32)).values()).detach())  # type: ignore[union-attr]
    for step in range(30):
        optimizer.zero_grad()
        (loss,) = task.loss(task.draw(np.random.default_rng(step), 32)).values()
        torch.autograd.backward(loss)
        optimizer.step()
    assert float(loss.detach()) < 0.9 * first
    with torch.inference_mode():
        assert task.validate()["val_place"] == 1


def test_padding_that_is_cut_off_changes_no_feature() -> None:
    text = ContrastiveText(ClipTextConfig(width=16, heads=2, layers=2, projection=8), 2, seed=0).text
    tokens = torch.zeros(2, 77, dtype=torch.int32)
    tokens[:, 0], tokens[0, 1:4], tokens[0, 4], tokens[1, 1] = 49_406, torch.tensor([5, 6, 7]), 49_407, 49_407
    with torch.inference_mode():
        torch.testing.assert_close(text.encode_short(without_padding(tokens)), text(tokens), rtol=1e-5, atol=1e-6)
    assert without_padding(tokens).shape == (2, 5)


def test_a_shortened_recipe_runs_through_and_again(tmp_path: Path) -> None:
    recipe = RSA_RECIPE.shortened(0.0003)
    model = train_rsa_mini(tmp_path / "run", tmp_path / "scenes", recipe=recipe)
    names = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    assert names == {
        *("relative/config.json", "relative/model.safetensors"),
        *("text.safetensors", "head.safetensors", "baselines.safetensors"),
    }
    before = (model / "head.safetensors").read_bytes()
    told: list[str] = []
    train_rsa_mini(tmp_path / "run", tmp_path / "scenes", recipe=recipe, announce=told.append)
    assert not any("steps of" in line for line in told)  # no network is trained again
    assert (model / "head.safetensors").read_bytes() == before
    with pytest.raises(TrainingError, match="other settings"):
        train_rsa_mini(tmp_path / "run", tmp_path / "scenes", recipe=RSA_RECIPE.shortened(0.001))


def test_a_recipe_of_nothing_is_refused() -> None:
    with pytest.raises(TrainingError, match="effort is 0"):
        RSA_RECIPE.shortened(0)
