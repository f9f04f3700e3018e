"""Means over pictures, settings, CSV and JSON of an evaluation."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedepth.core.errors import OptionError
from edgedepth.core.plain import from_plain, to_plain
from edgedepth.verify.boundaries import boundary_f1, boundary_recall
from edgedepth.verify.evaluation import (
    FOCAL_ERROR,
    METRICS,
    EvalReport,
    EvalSettings,
    ImageScore,
    Skip,
    mean_figures,
    render_csv,
    score_depth,
    worst_first,
)

RNG = np.random.default_rng(17)
TRUE = RNG.uniform(1, 20, (24, 32)).astype(np.float32)
PREDICTED = (TRUE * RNG.uniform(0.7, 1.6, TRUE.shape)).astype(np.float32)
VALID = RNG.random(TRUE.shape) < 0.8
MASK = np.zeros(TRUE.shape, np.bool_)
MASK[6:18, 8:20] = True


def image_score(name: str, abs_rel: float, **changes: Any) -> ImageScore:
    figures = {"delta1": 0.5, "abs_rel": abs_rel, "boundary_f1": 0.25}
    fields: dict[str, Any] = {
        "name": name,
        "pixels": 12,
        "focal_px": 100.0,
        "true_focal_px": None,
        "figures": figures,
        "baselines": {"constant_depth": {"delta1": 0.125}},
    }
    return ImageScore(**(fields | changes))


def report_of(*scores: ImageScore, **changes: Any) -> EvalReport:
    fields: dict[str, Any] = {
        "scores": scores,
        "skipped": (Skip(name="c", reason="no depth"),),
        "model": {"name": "mini", "trained": False},
        "data_set": {"name": "set"},
        "settings": EvalSettings(),
        "environment": {"cpu": "one"},
        "gallery": (),
    }
    return EvalReport(**(fields | changes))


def test_one_picture_s_figures_by_hand() -> None:
    p, t = PREDICTED[VALID].astype(np.float64), TRUE[VALID].astype(np.float64)
    figures = score_depth(PREDICTED, TRUE, VALID, mask=MASK, settings=EvalSettings())
    assert figures["delta1"] == sum(max(a / b, b / a) < 1.25 for a, b in zip(p, t, strict=True)) / len(p)
    assert figures["abs_rel"] == pytest.approx(sum(abs(a - b) / b for a, b in zip(p, t, strict=True)) / len(p))
    assert figures["rmse"] == pytest.approx(math.sqrt(sum((a - b) ** 2 for a, b in zip(p, t, strict=True)) / len(p)))
    assert figures["boundary_f1"] == boundary_f1(PREDICTED, TRUE, VALID)
    assert figures["boundary_recall"] == boundary_recall(PREDICTED, MASK)
    assert set(figures) | {"focal_delta25", "focal_delta50"} == set(METRICS)
    assert "boundary_recall" not in score_depth(PREDICTED, TRUE, VALID, mask=None, settings=EvalSettings())


@pytest.mark.parametrize(("align", "factor", "shift"), [("median", 3.7, 0.0), ("linear", 0.2, 4.0)])
def test_alignment_undoes_what_it_is_for(align: Any, factor: float, shift: float) -> None:
    off = (TRUE * factor + shift).astype(np.float32)
    aligned = score_depth(off, TRUE, VALID, mask=None, settings=EvalSettings(align=align))
    assert aligned["abs_rel"] == pytest.approx(0, abs=1e-6)  # float32 of the prediction
    assert score_depth(off, TRUE, VALID, mask=None, settings=EvalSettings())["abs_rel"] > 0.5


def test_boundaries_are_those_of_the_prediction_as_it_is() -> None:
    plain = score_depth(PREDICTED, TRUE, VALID, mask=MASK, settings=EvalSettings())
    for settings in (EvalSettings(align="linear"), EvalSettings(max_depth_m=5.0)):
        other = score_depth(PREDICTED, TRUE, VALID, mask=MASK, settings=settings)
        assert other["abs_rel"] != plain["abs_rel"]
        assert [other[name] for name in ("boundary_f1", "boundary_recall")] == [
            plain[name] for name in ("boundary_f1", "boundary_recall")
        ]


@pytest.mark.parametrize("align", ["none", "median", "linear"])
def test_predictions_are_cut_at_the_largest_depth_after_alignment(align: Any) -> None:
    near = VALID & (TRUE <= 10)
    predicted = TRUE * np.where(RNG.random(TRUE.shape) < 0.1, np.float32(100), np.float32(2))
    p, t = predicted[near].astype(np.float64), TRUE[near].astype(np.float64)
    if align == "median":
        p *= np.median(t) / np.median(p)
    elif align == "linear":
        p = np.polyval(np.polyfit(p, t, 1), p)
    figures = score_depth(predicted, TRUE, near, mask=None, settings=EvalSettings(align=align, max_depth_m=6.0))
    assert figures["rmse"] == pytest.approx(np.sqrt(np.mean((np.minimum(p, 6) - t) ** 2)))
    assert (p > 6).any()


def test_means_are_over_the_pictures_that_have_the_figure() -> None:
    images = [
        {"delta1": 0.5, "abs_rel": 0.1, FOCAL_ERROR: 0.3},
        {"delta1": 1.0, "abs_rel": 0.4, FOCAL_ERROR: 0.1, "boundary_recall": 0.75},
        {"delta1": 0.0, "abs_rel": 0.1, FOCAL_ERROR: 0.6},
        {"delta1": 0.5, "abs_rel": 0.0},
    ]
    means = mean_figures(images)
    assert tuple(means) == METRICS
    assert (means["delta1"], means["boundary_recall"]) == (0.5, 0.75)
    assert means["abs_rel"] == pytest.approx(0.15)
    # Of 0.3, 0.1 and 0.6, one lies below 25 % and two below 50 %.
    assert (means["focal_delta25"], means["focal_delta50"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert means["rmse"] is None


@given(st.permutations([image_score(name, value) for name, value in (("a", 1), ("b", 3), ("c", 3), ("d", 0))]))
def test_the_worst_come_first_in_one_order(scores: list[ImageScore]) -> None:
    assert [score.name for score in worst_first(scores)] == ["b", "c", "a", "d"]


def test_the_json_contract() -> None:
    known = image_score("b", 0.5, true_focal_px=90.0, figures={"abs_rel": 0.5, "delta1": 1.0, FOCAL_ERROR: 0.2})
    facts = json.loads(json.dumps(report_of(image_score("a", 0.25), known).to_dict(), allow_nan=False))
    assert facts["images"] == 2
    assert set(facts["metrics"]) == set(METRICS)
    assert facts["metrics"]["abs_rel"] == 0.375
    assert facts["metrics"]["focal_delta25"] == 1.0
    assert facts["metrics"]["boundary_recall"] is None
    assert facts["baselines"]["constant_depth"]["delta1"] == 0.125
    assert facts["skipped"] == [{"name": "c", "reason": "no depth"}]
    assert facts["images_with"] == {"focal_length": 1, "mask": 0}
    assert facts["settings"] == {
        "focal": "predicted",
        "align": "none",
        "max_depth_m": None,
        "limit": None,
        "baselines": True,
    }


def test_a_line_of_csv_for_each_picture() -> None:
    scores = [image_score('odd, "name"\n', 0.25), image_score("b", 0.5, baselines={})]
    first, second = csv.DictReader(io.StringIO(render_csv(scores)))
    assert first["name"] == 'odd, "name"\n'
    assert (first["abs_rel"], first["true_focal_px"], first["constant_depth.delta1"]) == ("0.25", "", "0.125")
    assert (second["abs_rel"], second["constant_depth.delta1"], second["focal_error"]) == ("0.5", "", "")


def test_a_score_goes_through_json() -> None:
    score = image_score("a/b", 1 / 3, true_focal_px=91.5)
    assert from_plain(ImageScore, json.loads(json.dumps(to_plain(score))), where="score") == score


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"focal": "mine"}, "focal is 'mine'; allowed are predicted, given"),
        ({"align": "affine"}, "align is 'affine'; allowed are none, median, linear"),
        ({"max_depth_m": 0.0}, "the largest depth is 0.0"),
        ({"max_depth_m": math.nan}, "the largest depth is nan"),
        ({"limit": 0}, "the limit is 0 samples"),
    ],
)
def test_settings_that_are_none(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        EvalSettings(**settings)
