"""evaluate on a real, small bundle: figures against a computation of their own, resuming, skipping, refusing."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edgedepth import EdgeDepth, evaluate
from edgedepth.core.bundle import open_bundle, write_bundle
from edgedepth.core.errors import CheckFailedError, OptionError, OutputError, SampleError, UnusableOutputError
from edgedepth.datasets.base import Sample
from edgedepth.evaluating import CSV, GALLERY, REPORT, check_evaluation
from edgedepth.verify.boundaries import boundary_f1
from edgedepth.verify.evaluation import METRICS, EvalReport, EvalSettings
from edgedepth.verify.score_log import SCORES

HEIGHT, WIDTH = 48, 64


def make_sample(index: int, *, focal_px: float | None, mask: bool = False) -> Sample:
    rng = np.random.default_rng(index)
    depth = np.full((HEIGHT, WIDTH), 4.0 + index, np.float32)
    depth[12:36, 8 + 4 * index : 30 + 4 * index] = 1.5
    valid = rng.random(depth.shape) < 0.9
    return Sample(
        name=f"rooms/{index}",
        image=rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8),
        depth_m=np.where(valid, depth, np.float32(0)),
        valid=valid,
        focal_px=focal_px,
        mask=depth < 2 if mask else None,
    )


SAMPLES = (
    make_sample(0, focal_px=60.0),
    make_sample(1, focal_px=None),
    make_sample(2, focal_px=500.0, mask=True),
    make_sample(3, focal_px=70.0),
)


@dataclass
class Rooms:
    """A set in memory. `bad` fail to load; loading `last` ends the run as Ctrl-C or a bug would."""

    samples: tuple[Sample, ...] = SAMPLES
    metric: bool = True
    max_depth_m: float | None = None
    name: str = "rooms"
    bad: tuple[str, ...] = ()
    stop: BaseException | None = None
    stop_at: int = -1
    loaded: list[str] = field(default_factory=list)

    @property
    def sample_names(self) -> tuple[str, ...]:
        return tuple(sample.name for sample in self.samples)

    def load(self, sample_name: str) -> Sample:
        if self.stop is not None and len(self.loaded) == self.stop_at:
            raise self.stop
        self.loaded.append(sample_name)
        if sample_name in self.bad:
            raise SampleError(f"{sample_name}: no such depth map", remedy="get it")
        return self.samples[self.sample_names.index(sample_name)]


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Path:
    return tiny_bundle


@pytest.fixture(scope="module")
def model(bundle: Path) -> Iterator[EdgeDepth]:
    with EdgeDepth(bundle, color="rgb", self_test="never") as opened:
        yield opened


@pytest.fixture(scope="module")
def whole(model: EdgeDepth, tmp_path_factory: pytest.TempPathFactory) -> tuple[EvalReport, Path]:
    """A run over all the rooms, and its folder."""
    out = tmp_path_factory.mktemp("whole") / "eval"
    return evaluate(model, Rooms(), out=out, gallery=2), out


def abs_rel(predicted: npt.NDArray[np.floating[Any]], sample: Sample) -> float:
    p, t = predicted[sample.valid].astype(np.float64), sample.depth_m[sample.valid].astype(np.float64)
    return float(np.mean(np.abs(p - t) / t))


# --- figures


def test_the_figures_are_the_means_over_the_pictures(model: EdgeDepth, whole: tuple[EvalReport, Path]) -> None:
    report, _ = whole
    results = [model.infer(sample.image) for sample in SAMPLES]
    assert report.metrics["abs_rel"] == pytest.approx(
        np.mean([abs_rel(r.depth, s) for r, s in zip(results, SAMPLES, strict=True)])
    )
    assert report.metrics["boundary_f1"] == pytest.approx(
        np.mean([boundary_f1(r.depth, s.depth_m, s.valid) for r, s in zip(results, SAMPLES, strict=True)])
    )
    errors = [abs(r.focal_px - s.focal_px) / s.focal_px for r, s in zip(results, SAMPLES, strict=True) if s.focal_px]
    assert len(errors) == 3
    assert report.metrics["focal_delta25"] == sum(error < 0.25 for error in errors) / 3
    assert report.metrics["focal_delta50"] == sum(error < 0.5 for error in errors) / 3
    assert report.metrics["boundary_recall"] is not None
    assert [score.name for score in report.scores] == [sample.name for sample in SAMPLES]


def test_the_baselines_stand_beside_it(whole: tuple[EvalReport, Path]) -> None:
    report, _ = whole
    median = np.median(np.concatenate([sample.depth_m[sample.valid] for sample in SAMPLES]))
    constant = [abs_rel(np.full((HEIGHT, WIDTH), median, np.float32), sample) for sample in SAMPLES]
    # The constant is the median to 0.1 %.
    assert report.baselines["constant_depth"]["abs_rel"] == pytest.approx(np.mean(constant), rel=5e-3)
    assert report.baselines["constant_depth"]["boundary_f1"] == 0
    assert report.baselines["mean_depth_map"]["abs_rel"] < report.baselines["constant_depth"]["abs_rel"]
    # The median of 60, 70 and 500 px misses 500 and is within a quarter of 60.
    assert report.baselines["constant_fov"]["focal_delta25"] == pytest.approx(2 / 3)
    assert report.baselines["constant_fov"]["abs_rel"] is None


def test_bgr_models_see_the_same_picture(bundle: Path, whole: tuple[EvalReport, Path], tmp_path: Path) -> None:
    with EdgeDepth(bundle, color="bgr", self_test="never") as other:
        assert evaluate(other, Rooms(), out=tmp_path / "eval", gallery=0).metrics == whole[0].metrics


def test_a_given_focal_length_scales_the_depth(model: EdgeDepth, tmp_path: Path) -> None:
    report = evaluate(model, Rooms(), out=tmp_path / "eval", settings=EvalSettings(focal="given"), gallery=0)
    results = [model.infer(s.image, focal_px=s.focal_px) for s in SAMPLES if s.focal_px]
    known = [s for s in SAMPLES if s.focal_px]
    assert report.metrics["abs_rel"] == pytest.approx(
        np.mean([abs_rel(r.depth, s) for r, s in zip(results, known, strict=True)])
    )
    assert [(skip.name, "focal length" in skip.reason) for skip in report.skipped] == [("rooms/1", True)]
    assert report.metrics["focal_delta25"] is None
    assert "constant_fov" not in report.baselines


def test_an_impossible_focal_length_is_the_sample_s_fault(model: EdgeDepth, tmp_path: Path) -> None:
    odd = Rooms(samples=(SAMPLES[0], replace(SAMPLES[2], focal_px=0.5)))
    report = evaluate(model, odd, out=tmp_path / "eval", settings=EvalSettings(focal="given"))
    assert "focal_px is 0.5" in report.skipped[0].reason


def test_beyond_the_largest_depth_nothing_counts(model: EdgeDepth, tmp_path: Path) -> None:
    near = evaluate(model, Rooms(), out=tmp_path / "near", settings=EvalSettings(max_depth_m=2.0), gallery=0)
    assert [score.pixels for score in near.scores] == [np.count_nonzero(s.valid & (s.depth_m < 2)) for s in SAMPLES]
    assert near.baselines["constant_depth"]["abs_rel"] == pytest.approx(0, abs=1e-3)  # all that is left is at 1.5 m
    with pytest.raises(CheckFailedError, match="no valid depth within 1 m"):
        evaluate(model, Rooms(), out=tmp_path / "none", settings=EvalSettings(max_depth_m=1.0))


def test_the_set_s_protocol_holds_unless_told_otherwise(model: EdgeDepth, tmp_path: Path) -> None:
    rooms = Rooms(max_depth_m=2.0)
    own = evaluate(model, rooms, out=tmp_path / "own", gallery=0)
    asked = evaluate(model, Rooms(), out=tmp_path / "asked", settings=EvalSettings(max_depth_m=2.0), gallery=0)
    assert own.metrics == asked.metrics
    assert own.settings.max_depth_m == 2.0
    wider = evaluate(model, rooms, out=tmp_path / "wider", settings=EvalSettings(max_depth_m=99.0), gallery=0)
    assert wider.scores[0].pixels > own.scores[0].pixels


@pytest.mark.parametrize(("limit", "chosen"), [(2, [0, 2]), (3, [0, 1, 2]), (9, None)])
def test_a_limit_is_spread_over_the_set(model: EdgeDepth, tmp_path: Path, limit: int, chosen: list[int] | None) -> None:
    rooms = Rooms()
    settings = EvalSettings(limit=limit, baselines=False)
    report = evaluate(model, rooms, out=tmp_path / "eval", settings=settings, gallery=0)
    assert rooms.loaded == [f"rooms/{index}" for index in (range(4) if chosen is None else chosen)]
    assert (report.data_set["samples"], report.data_set["chosen"]) == (4, len(rooms.loaded))
    assert report.baselines == {}


# --- what is written


def test_the_report_is_what_was_returned(whole: tuple[EvalReport, Path], bundle: Path) -> None:
    report, out = whole
    facts = json.loads((out / REPORT).read_text("utf-8"))
    assert facts == json.loads(json.dumps(report.to_dict()))
    assert facts["images"] == 4
    assert set(facts["metrics"]) == set(METRICS)
    assert facts["model"]["name"] == "depth-pro-tiny"
    assert (facts["model"]["backend"], facts["model"]["precision"]) == ("onnx", "fp32")
    assert facts["model"]["trained"] is False
    assert facts["model"]["bundle"] == str(bundle)
    assert len(facts["model"]["bundle_sha256"]) == len(facts["model"]["weights_sha256"]) == 64
    assert {"cpu", "python", "numpy"} <= set(facts["environment"])


def test_the_csv_has_a_line_for_each_picture(whole: tuple[EvalReport, Path]) -> None:
    report, out = whole
    rows = list(csv.DictReader((out / CSV).read_text("utf-8").splitlines()))
    assert [row["name"] for row in rows] == [sample.name for sample in SAMPLES]
    assert np.mean([float(row["abs_rel"]) for row in rows]) == pytest.approx(report.metrics["abs_rel"])
    assert [row["boundary_recall"] != "" for row in rows] == [False, False, True, False]


def test_the_gallery_shows_the_worst_first(whole: tuple[EvalReport, Path]) -> None:
    report, out = whole
    order = sorted(report.scores, key=lambda score: -score.figures["abs_rel"])
    expected = [f"00{rank}_{score.name.replace('/', '_')}.jpg" for rank, score in enumerate(order[:2], start=1)]
    assert sorted(path.name for path in (out / GALLERY).iterdir()) == expected
    assert list(report.gallery) == [f"{GALLERY}/{name}" for name in expected]
    picture = cv2.imread(str(out / GALLERY / expected[0]))
    assert picture.shape == (HEIGHT, 3 * WIDTH, 3)
    sample = SAMPLES[[s.name for s in SAMPLES].index(order[0].name)]
    # JPEG of noise: right on the average of small blocks, and not of the blue channel's neighbour.
    blurred = [cv2.resize(p, (8, 6), interpolation=cv2.INTER_AREA) for p in (picture[:, :WIDTH], sample.image)]
    assert np.abs(blurred[0].astype(int) - blurred[1][..., ::-1]).max() <= 12


def test_a_smaller_gallery_takes_the_old_pictures_away(model: EdgeDepth, tmp_path: Path) -> None:
    out, rooms = tmp_path / "eval", Rooms(samples=SAMPLES[:2])
    evaluate(model, rooms, out=out, gallery=2)
    (out / GALLERY / "mine.jpg").touch()
    evaluate(model, rooms, out=out, gallery=1, resume=True)
    names = sorted(path.name for path in (out / GALLERY).iterdir())
    assert (len(names), names[0][:4], names[1]) == (2, "001_", "mine.jpg")


def test_the_steps_are_told(model: EdgeDepth, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    evaluate(model, Rooms(), out=tmp_path / "eval", gallery=1, progress=lambda *step: told.append(step))
    assert told[0] == ("fitting the baselines: rooms/0", 0, 4)
    assert ("rooms/3", 3, 4) in told
    assert told[-1] == ("drawing the worst: done", 1, 1)


# --- bad samples


def test_bad_samples_are_counted_and_named(model: EdgeDepth, tmp_path: Path) -> None:
    tiny_picture = replace(
        SAMPLES[1], image=SAMPLES[1].image[:8], depth_m=SAMPLES[1].depth_m[:8], valid=SAMPLES[1].valid[:8]
    )
    blind = replace(SAMPLES[2], valid=np.zeros((HEIGHT, WIDTH), np.bool_))
    rooms = Rooms(samples=(SAMPLES[0], tiny_picture, blind, SAMPLES[3]), bad=("rooms/3",))
    report = evaluate(model, rooms, out=tmp_path / "eval")
    assert [score.name for score in report.scores] == ["rooms/0"]
    reasons = {skip.name: skip.reason for skip in report.skipped}
    assert list(reasons) == ["rooms/1", "rooms/2", "rooms/3"]
    assert "64 x 8 pixels" in reasons["rooms/1"]
    assert "no valid depth" in reasons["rooms/2"]
    assert "no such depth map" in reasons["rooms/3"]
    assert json.loads((tmp_path / "eval" / REPORT).read_text())["skipped"][2]["name"] == "rooms/3"


@pytest.mark.parametrize("baselines", [True, False])
def test_a_set_of_bad_samples_is_a_failure(model: EdgeDepth, tmp_path: Path, baselines: bool) -> None:
    rooms = Rooms(bad=Rooms().sample_names)
    with pytest.raises(CheckFailedError, match=r"none of the 4 samples of rooms could be scored.*rooms/0: no such"):
        evaluate(model, rooms, out=tmp_path / "eval", settings=EvalSettings(baselines=baselines))
    # Mended, the very same folder goes on.
    settings = EvalSettings(baselines=baselines)
    assert len(evaluate(model, Rooms(), out=tmp_path / "eval", settings=settings, gallery=0, resume=True).scores) == 4


def test_a_depth_up_to_scale_needs_an_alignment(model: EdgeDepth, tmp_path: Path) -> None:
    rooms = Rooms(metric=False, samples=SAMPLES[2:])
    with pytest.raises(OptionError, match="up to a scale only") as caught:
        evaluate(model, rooms, out=tmp_path / "eval")
    assert "--align median" in caught.value.remedy
    assert not (tmp_path / "eval").exists()
    twice = Rooms(metric=False, samples=tuple(replace(s, depth_m=s.depth_m * 2) for s in rooms.samples))
    settings = EvalSettings(align="median")
    one = evaluate(model, rooms, out=tmp_path / "one", settings=settings, gallery=0)
    other = evaluate(model, twice, out=tmp_path / "other", settings=settings, gallery=0)
    assert one.metrics["abs_rel"] == pytest.approx(other.metrics["abs_rel"])
    assert one.metrics["delta1"] == other.metrics["delta1"]


# --- a run that ends early


@pytest.mark.parametrize(
    ("stop", "after"),  # so many loads: in the first pass, before, within and late in the second
    [(KeyboardInterrupt(), 2), (KeyboardInterrupt(), 4), (KeyboardInterrupt(), 6), (RuntimeError("a bug"), 7)],
    ids=repr,
)
def test_a_run_that_was_stopped_goes_on(
    model: EdgeDepth, whole: tuple[EvalReport, Path], tmp_path: Path, stop: BaseException, after: int
) -> None:
    out = tmp_path / "eval"
    with pytest.raises(type(stop)):
        evaluate(model, Rooms(stop=stop, stop_at=after), out=out, gallery=2)
    assert not (out / REPORT).exists()
    rest = Rooms()
    report = evaluate(model, rest, out=out, gallery=2, resume=True)
    assert report.to_dict() == whole[0].to_dict()
    scored_before = max(0, after - 4)
    first_pass = 4 if after < 4 else 0  # the fitted baselines were kept
    assert len(rest.loaded) == first_pass + (4 - scored_before) + 2  # the gallery's two
    for name in (REPORT, CSV):
        assert (out / name).read_bytes() == (whole[1] / name).read_bytes()


def test_a_complete_run_is_told_again_without_the_model(model: EdgeDepth, whole: tuple[EvalReport, Path]) -> None:
    report, out = whole
    rooms = Rooms()
    assert evaluate(model, rooms, out=out, gallery=0, resume=True).metrics == report.metrics
    assert rooms.loaded == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": EvalSettings(align="median")}, "settings align"),
        ({"settings": EvalSettings(limit=2)}, "data_set chosen"),
        ({"data_set": Rooms(name="halls")}, "data_set name"),
        ({"data_set": Rooms(samples=(*SAMPLES[:3], make_sample(4, focal_px=None)))}, "data_set chosen_sha256"),
        ({"place": "/elsewhere"}, "data_set place"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_scores_of_another_run_are_not_mixed_in(
    model: EdgeDepth, whole: tuple[EvalReport, Path], change: dict[str, Any], said: str
) -> None:
    words = {"data_set": Rooms()} | change
    with pytest.raises(OptionError, match=f"was made with {said}"):
        evaluate(model, out=whole[1], resume=True, **words)


def test_another_bundle_s_scores_are_not_mixed_in(whole: tuple[EvalReport, Path], bundle: Path, tmp_path: Path) -> None:
    source = open_bundle(bundle)
    with write_bundle(tmp_path / "other") as writer:
        shutil.copytree(bundle, writer.folder, dirs_exist_ok=True)
        writer.finish(replace(source.manifest, created_utc="2026-01-01T00:00:00Z"))
    with (
        EdgeDepth(tmp_path / "other", self_test="never") as other,
        pytest.raises(OptionError, match="was made with model bundle_sha256"),
    ):
        evaluate(other, Rooms(), out=whole[1], resume=True)
    moved = shutil.copytree(bundle, tmp_path / "moved")
    with EdgeDepth(moved, self_test="never") as same:  # the same bytes elsewhere are the same bundle
        evaluate(same, Rooms(), out=whole[1], resume=True, gallery=0)


def test_what_stands_there_is_not_replaced(model: EdgeDepth, whole: tuple[EvalReport, Path]) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in whole[1].iterdir()}
    with pytest.raises(OutputError, match="holds an evaluation already"):
        evaluate(model, Rooms(), out=whole[1])
    assert {path.name: path.stat().st_mtime_ns for path in whole[1].iterdir()} == before


def test_a_model_that_gives_nan_is_an_error_and_the_scores_stay(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "eval"
    with EdgeDepth(bundle, color="rgb", self_test="never") as broken:
        right, calls = broken.infer, []

        def infer(frame: object, **options: Any) -> Any:
            calls.append(frame)
            if len(calls) == 3:
                raise UnusableOutputError("3 of 9 values are NaN", remedy="verify it")
            return right(frame, **options)

        monkeypatch.setattr(broken, "infer", infer)
        with pytest.raises(UnusableOutputError):
            evaluate(broken, Rooms(), out=out)
    lines = [json.loads(line) for line in (out / SCORES).read_text().splitlines()]
    assert [next(iter(line)) for line in lines] == ["header", "baselines", "score", "score"]


@pytest.mark.parametrize("gallery", [-1, 1000])
def test_a_gallery_that_is_none(gallery: int, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="allowed are 0 to 999"):
        check_evaluation(Rooms(), out=tmp_path, settings=EvalSettings(), gallery=gallery, resume=False)
