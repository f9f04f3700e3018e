"""verify, debug and inspect as a user calls them: what is compared, what is kept, and how bad input is told."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgedepth import proof
from edgedepth.core.bundle import open_bundle, write_bundle
from edgedepth.core.runs import read_run
from edgedepth.core.tolerances import tolerance_for

from .conftest import Cli

pytestmark = pytest.mark.usefixtures("known_tiny")


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """One's own: reports are written into it."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def from_a_file(bundle: Path, out: Path) -> Path:
    """The bundle as if its weights had been a user's own file, which isn't on this machine."""
    source = open_bundle(bundle)
    with write_bundle(out) as writer:
        shutil.copytree(bundle, writer.folder, dirs_exist_ok=True)
        model = replace(source.manifest.model, source="local depth_pro.pt")
        writer.finish(replace(source.manifest, model=model, files=writer.file_entries()))
    return out


def test_a_report_is_kept_in_the_bundle_and_inspect_shows_it(cli: Cli, bundle: Path, photos: Path) -> None:
    assert "not measured yet: edgedepth verify" in cli("inspect", bundle).out
    told = cli("verify", bundle, "--images", photos, "--json").json
    shown = cli("inspect", bundle)
    assert "passed on 2 pictures, AbsRel" in shown.out
    assert "verified on the device, onnx" in shown.out
    facts = cli("inspect", bundle, "--json").json
    assert facts["reports"]["parity"]["report"] == told
    assert facts["reports"]["latency"] is None


def test_no_save_leaves_the_bundle_alone(cli: Cli, bundle: Path, photos: Path) -> None:
    assert cli("verify", bundle, "--images", photos, "--no-save").code == 0
    assert not (bundle / "reports").exists()


def test_serving_warns_until_it_was_verified(
    cli: Cli, bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "_told", set())  # once in a process, and other tests serve bundles of these bytes
    words = ("infer", photos / "one.png", "--bundle", bundle, "--out", tmp_path / "out")
    assert f"warning: nobody has compared {bundle} with the reference yet: edgedepth verify {bundle}" in cli(*words).err
    cli("verify", bundle, "--images", photos)
    assert "nobody has compared" not in cli(*words).err


def test_figures_tell_where_and_of_what_kind(cli: Cli, bundle: Path, photos: Path) -> None:
    report = cli("verify", bundle, "--images", photos, "--json").json
    whole = report["end_to_end"]
    assert whole["depth_scale"] == pytest.approx(1, abs=1e-5)  # fp32 adds in another order, and no more
    assert whole["worst"] in ("one.png", "two.jpg")
    assert set(whole["worst_pixel"]) == {"picture", "row", "column", "depth_m", "reference_m"}
    assert [picture["name"] for picture in report["pictures"]] == ["one.png", "two.jpg"]
    stage = report["stages"]["decoder"]
    assert stage["cosine"] == pytest.approx(1)
    assert stage["p50_rel"] <= stage["p99_rel"]
    shown = cli("verify", bundle, "--images", photos).out
    assert "worst pixel: row " in shown
    assert "depth scale" in shown


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--max-absrel", "0", "end to end abs_rel is"),
        ("--max-rel", "0", "end to end max_rel is"),
        ("--max-lost-structure", "0", "end to end lost_structure is"),
        ("--max-stage-rel", "0", "stage patch_encoder max_rel is"),
    ],
)
def test_a_limit_of_ones_own_decides_and_is_told(
    cli: Cli, bundle: Path, photos: Path, flag: str, value: str, said: str
) -> None:
    done = cli("verify", bundle, "--images", photos, flag, value)
    assert done.code == 1
    assert said in done.out
    assert "limits that were set instead of the precision's: " in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--max-absrel", "nan"), "the limit abs_rel is nan"),
        (("--max-absrel", "-1"), "the limit abs_rel is -1.0"),
        (("--min-boundary-f1", "2"), "allowed are 0 to 1"),
        (("--limit", "0"), "the limit is 0 pictures"),
        (("--layout", "plain"), "there is none"),
        (("--images", "nowhere"), "nowhere"),
        (("--against", "nowhere"), "there is no bundle at nowhere"),
    ],
)
def test_mistakes_are_told(cli: Cli, bundle: Path, photos: Path, words: tuple[str, ...], said: str) -> None:
    pictures = () if "--images" in words or "--layout" in words else ("--images", photos)
    done = cli("verify", bundle, *pictures, *words)
    assert done.code == 2
    assert said in done.err


def test_a_folder_without_pictures_is_refused(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = cli("verify", bundle, "--images", tmp_path / "empty")
    assert done.code == 2
    assert "empty" in done.err


def test_a_picture_that_cannot_be_read_is_named_and_left_out(cli: Cli, bundle: Path, photos: Path) -> None:
    (photos / "torn.jpg").write_bytes((photos / "two.jpg").read_bytes()[:400])
    done = cli("verify", bundle, "--images", photos)
    assert done.code == 0
    assert "passed on 2 pictures, 1 skipped" in done.out
    assert "skipped: torn.jpg: " in done.out
    (photos / "two.jpg").unlink()
    done = cli("verify", bundle, "--images", photos)
    assert done.code == 2
    assert "got 1 different pictures; parity needs 2 at least; 1 can't be read" in done.err


def test_pictures_of_one_colour_are_told(cli: Cli, bundle: Path, photos: Path) -> None:
    Image.new("RGB", (64, 48), (30, 120, 200)).save(photos / "wall.png")
    done = cli("verify", bundle, "--images", photos, "--json")
    assert done.code == 0
    assert done.json["images"] == 3
    assert [note for note in done.json["notes"] if note.startswith("wall.png is of one colour")]


def test_against_the_truth_with_error_bars(cli: Cli, bundle: Path) -> None:
    report = cli("verify", bundle, "--data", "synthetic:3", "--json").json
    quality = report["quality"]
    assert quality["pictures"] == 3
    assert set(quality["candidate"]) == set(quality["reference"])
    interval = quality["intervals"]["abs_rel"]
    assert interval["low"] <= interval["difference"] <= interval["high"]
    assert abs(interval["difference"]) < 1e-4  # fp32 costs nothing
    assert interval["difference"] == pytest.approx(
        quality["candidate"]["abs_rel"] - quality["reference"]["abs_rel"], abs=1e-12
    )
    assert quality["settings"]["max_depth_m"] == 80.0
    assert "difference (95 % interval)" in cli("verify", bundle, "--data", "synthetic:3", "--limit", "2").out


def test_bundle_against_bundle(cli: Cli, bundle: Path, tiny_bundle: Path, photos: Path) -> None:
    report = cli("verify", bundle, "--against", tiny_bundle, "--images", photos, "--json").json
    assert report["passed"]
    assert report["end_to_end"]["abs_rel"] == 0  # the very same graphs
    assert report["reference"] == f"onnx fp32 bundle {tiny_bundle}"
    assert set(report["stages"]) == {"patch_encoder", "image_encoder", "decoder", "fov"}
    assert not (bundle / "reports").exists()  # that is no parity with the reference
    refused = cli("verify", bundle, "--against", tiny_bundle, "--images", photos, "--weights", "random:0")
    assert refused.code == 2


def test_another_model_is_no_reference(cli: Cli, bundle: Path, tmp_path: Path, photos: Path) -> None:
    source = open_bundle(bundle)
    with write_bundle(tmp_path / "other") as writer:
        shutil.copytree(bundle, writer.folder, dirs_exist_ok=True)
        model = replace(source.manifest.model, name="another")
        writer.finish(replace(source.manifest, model=model, files=writer.file_entries()))
    done = cli("verify", bundle, "--against", tmp_path / "other", "--images", photos)
    assert done.code == 2
    assert "is another and" in done.err


class TestWithoutTheReference:
    def test_what_is_stored_is_compared_and_that_is_said(
        self, cli: Cli, bundle: Path, photos: Path, tmp_path: Path
    ) -> None:
        ours = from_a_file(bundle, tmp_path / "ours")
        done = cli("verify", ours, "--images", photos)
        assert done.code == 0
        assert "the reference can't be loaded on this machine" in done.err
        assert "the 2 pictures are not used" in done.err
        assert "compared with the reference's outputs for the golden frame, stored in the bundle" in done.out
        assert "note: the reference itself didn't run" in done.out
        assert not (ours / "reports").exists()
        report = cli("verify", ours, "--images", photos, "--json").json
        assert report["images"] == 1
        assert set(report["stages"]) == {"patch_encoder", "image_encoder", "decoder", "fov"}

    def test_what_is_wrong_fails_all_the_same(self, cli: Cli, bundle: Path, photos: Path, tmp_path: Path) -> None:
        ours = from_a_file(bundle, tmp_path / "ours")
        source = open_bundle(ours)
        with write_bundle(tmp_path / "wrong") as writer:
            shutil.copytree(ours, writer.folder, dirs_exist_ok=True)
            with np.load(ours / "golden.npz") as golden:
                arrays = {name: golden[name] for name in golden.files}
            arrays["depth"] = arrays["depth"] * np.float32(1.02)
            np.savez(writer.folder / "golden.npz", **arrays)
            writer.finish(replace(source.manifest, files=writer.file_entries()))
        done = cli("verify", tmp_path / "wrong", "--images", photos)
        assert done.code == 1
        assert "end to end depth_scale is 0.9804" in done.out

    def test_weights_that_were_named_are_not_swapped_for_it(
        self, cli: Cli, bundle: Path, photos: Path, tmp_path: Path
    ) -> None:
        ours = from_a_file(bundle, tmp_path / "ours")
        done = cli("verify", ours, "--images", photos, "--weights", tmp_path / "nothing.pt")
        assert done.code == 2
        assert "nothing.pt" in done.err


class TestRun:
    def test_a_run_holds_figures_and_pictures(self, cli: Cli, bundle: Path, photos: Path, tmp_path: Path) -> None:
        done = cli("verify", bundle, "--images", photos, "--out", tmp_path / "run", "--json")
        run = read_run(tmp_path / "run")
        (entry,) = run.entries
        assert run.kind == "verify"
        assert run.command.startswith("edgedepth verify ")
        assert (entry.name, entry.status, entry.precision) == ("onnx fp32", "passed", "fp32")
        assert entry.parity == done.json
        assert entry.size_bytes == open_bundle(bundle).size
        assert entry.provenance["weights"] == "random:0"
        assert sorted(picture.name for picture in entry.pictures) == ["one.png", "two.jpg"]
        for picture in entry.pictures:
            with Image.open(tmp_path / "run" / picture.rgb) as image:
                size = image.size[::-1]
            depths = []
            for file in (picture.reference, picture.candidate):
                with np.load(tmp_path / "run" / file) as packed:
                    depths.append(packed["depth"])
            assert depths[0].shape == depths[1].shape == size
            assert depths[0].dtype == np.float32
            assert np.allclose(depths[0], depths[1], rtol=tolerance_for("fp32").max_rel)
            assert picture.focal_px is not None

    def test_the_worst_pictures_are_kept_and_no_others(
        self, cli: Cli, bundle: Path, photos: Path, tmp_path: Path
    ) -> None:
        done = cli("verify", bundle, "--images", photos, "--out", tmp_path / "run", "--pictures", "1", "--json")
        (picture,) = read_run(tmp_path / "run").entries[0].pictures
        assert picture.name == done.json["end_to_end"]["worst"]
        assert len(list((tmp_path / "run" / "pictures").iterdir())) == 3

    def test_an_older_run_is_replaced_and_nothing_else_is(
        self, cli: Cli, bundle: Path, photos: Path, tmp_path: Path
    ) -> None:
        words = ("verify", bundle, "--images", photos, "--out")
        assert cli(*words, tmp_path / "run").code == 0
        assert cli(*words, tmp_path / "run").code == 0
        assert cli(*words, photos).code == 2
        assert len(list(photos.iterdir())) == 2


def test_debug_tells_in_json_and_words(cli: Cli, bundle: Path, tiny_bundle: Path, photos: Path) -> None:
    words = ("debug", bundle, "--against", tiny_bundle, "--images", photos)
    done = cli(*words)
    assert done.code == 0
    assert "nothing is out of its tolerance" in done.out
    report = cli(*words, "--json").json
    assert report["passed"]
    assert report["first"] is None
    json.dumps(report, allow_nan=False)
