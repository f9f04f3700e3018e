"""rsa-mini as it ships: small, listed, exported to both runtimes, and told its scale by captions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgedepth import EdgeDepth, verify_bundle
from edgedepth.cli import main
from edgedepth.core.errors import WeightsError
from edgedepth.datasets.captions import open_captioned
from edgedepth.models.loading import load_model
from edgedepth.models.registry import MODELS, ShippedParts, model_entry
from edgedepth.models.weights import shipped_baselines
from edgedepth.rsa.evaluating import GLOBAL, LINEAR, MEDIAN, RSA, WRONG, tabulate
from edgedepth.training.scenes import HELD_OUT_SEED, render_scene


@pytest.fixture(scope="module")
def bundles(exported: Callable[..., Path]) -> dict[str, Path]:
    return {target: exported("--model", "rsa-mini", "--target", target) for target in ("onnx", "openvino")}


@pytest.fixture(scope="module")
def room() -> np.ndarray:
    return render_scene(HELD_OUT_SEED, width=256, height=192, place="room").image


def test_it_is_small_and_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    entry = model_entry("rsa-mini")
    assert isinstance(entry.weights, ShippedParts)
    assert entry.weights.size <= 15_000_000
    assert entry.demonstration
    assert main(["models", "--json"]) == 0
    listed = {model["name"]: model for model in json.loads(capsys.readouterr().out)["models"]}["rsa-mini"]
    assert listed["state"] == "in the package"
    assert listed["licence"] == "Apache-2.0"
    assert "DEMONSTRATION" in listed["note"]


def test_its_spec_tells_where_the_weights_are_from() -> None:
    spec = load_model("rsa-mini").spec
    assert spec.trained
    assert (spec.source, spec.licence) == ("edgedepth's own: shipped/rsa_mini", "Apache-2.0")
    own = shipped_baselines(spec)
    assert own is not None
    assert own.is_file()
    assert shipped_baselines(replace(spec, source="local relative=x, text=y, head=z")) is None


def test_a_damaged_part_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = model_entry("rsa-mini")
    assert isinstance(entry.weights, ShippedParts)
    parts = entry.weights.parts | {"head": replace(entry.weights.parts["head"], sha256="0" * 64)}
    monkeypatch.setitem(MODELS, "rsa-mini", replace(entry, weights=replace(entry.weights, parts=parts)))
    with pytest.raises(WeightsError, match="is damaged"):
        load_model("rsa-mini")


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_bundles_are_the_reference_s(target: str, bundles: dict[str, Path], room: np.ndarray) -> None:
    report = verify_bundle(bundles[target], [room, room[:, ::-1].copy()])
    assert report.passed, report.failures


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_captions_tell_the_scale(
    target: str, bundles: dict[str, Path], room: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), room[..., ::-1])
    medians = {}
    for caption in ("A table-top with two cups", "A room with a chair", "A street with three cars"):
        words = ["infer", str(tmp_path / "photo.png"), "--bundle", str(bundles[target]), "--caption", caption]
        assert main([*words, "--out", str(tmp_path / "out"), "--json"]) == 0
        medians[caption] = json.loads(capsys.readouterr().out)["images"][0]["depth_m"]["median"]
    top, inside, street = medians.values()
    assert 2 * top < inside < street / 1.5


def test_the_table_is_in_the_paper_s_order(bundles: dict[str, Path]) -> None:
    """On twenty scenes that were never trained on; the model card has the figures of many more."""
    with EdgeDepth(bundles["onnx"]) as model:
        table = tabulate(
            model,
            open_captioned("places:20", first_seed=HELD_OUT_SEED),
            baselines=shipped_baselines(model.spec),
            wrong_captions=True,
        )
    error = {row: figures["abs_rel"] for row, figures in table.rows.items()}
    assert error[LINEAR] < error[RSA] < min(error[GLOBAL], error[MEDIAN])
    assert error[WRONG] > 2 * error[RSA]
    assert table.gap_closed is not None
    assert table.gap_closed >= 0.5
