"""export, verify, inspect, models, doctor and demo: what they print, and how they say no."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgedepth.cli import COMMANDS, build_parser
from edgedepth.core.bundle import open_bundle, write_bundle
from edgedepth.core.manifest import Manifest
from edgedepth.core.store import bundles_folder

from .conftest import Cli


@pytest.mark.usefixtures("traced_once")
def test_export_into_the_store_then_everything_finds_it(cli: Cli, photos: Path, tmp_path: Path) -> None:
    exported = cli("export", "--model", "depth-pro-mini", "--json")
    assert exported.code == 0
    path = Path(exported.json["path"])
    assert path == bundles_folder() / "depth-pro-mini-onnx-fp32"
    assert "[0/6] stage patch_encoder" in exported.err
    found = cli("infer", photos / "one.png", "--backend", "onnx", "--out", tmp_path)
    assert found.code == 0
    assert f"using the newest fitting bundle of the store: {path}" in found.err
    assert "no model was named, and the newest bundle is depth-pro-mini: DEMONSTRATION" in found.err
    named = cli("infer", photos / "one.png", "--model", "depth-pro-mini", "--out", tmp_path)
    assert named.code == 0
    assert "no model was named" not in named.err


def test_inspect_shows_the_manifest(cli: Cli, mini_bundle: Path) -> None:
    shown = cli("inspect", mini_bundle)
    assert shown.code == 0
    assert "depth-pro-mini, 9,197,086 parameters, UNTRAINED" in shown.out
    assert "onnx, fp32, layout staged, tile batch 5" in shown.out
    stages = [line.split()[0] for line in shown.out.splitlines() if ".onnx" in line]
    assert stages == ["patch_encoder", "image_encoder", "decoder", "fov"]
    facts = cli("inspect", mini_bundle, "--json").json
    assert facts["manifest"] == json.loads((mini_bundle / "manifest.json").read_text())
    sealed = [path for path in mini_bundle.rglob("*.*") if path.stem != "manifest" and path.parent.name != "reports"]
    assert facts["bytes"] == sum(path.stat().st_size for path in sealed)


@pytest.mark.usefixtures("known_tiny")
def test_verify_passes_and_keeps_its_contract(cli: Cli, tiny_bundle: Path, photos: Path) -> None:
    done = cli("verify", tiny_bundle, "--images", photos, "--no-save", "--json")
    assert done.code == 0
    report = done.json
    assert report["passed"] is True
    assert report["images"] == 2
    assert set(report["end_to_end"]) >= {"abs_rel", "delta1", "max_rel", "fov_deg"}
    assert set(report["stages"]) == {"patch_encoder", "image_encoder", "decoder", "fov"}
    assert all(set(stage) >= {"max_rel", "mean_rel"} for stage in report["stages"].values())
    assert report["end_to_end"]["delta1"] == 1.0
    assert "passed on 2 pictures" in cli("verify", tiny_bundle, "--images", photos, "--no-save").out


def test_verify_without_images_takes_the_sample_photographs(cli: Cli, mini_bundle: Path) -> None:
    assert cli("verify", mini_bundle, "--no-save", "--json").json["images"] == 3


def with_changed_weight(bundle: Path, stage: str, out: Path) -> Path:
    """A bundle whose manifest is right about its files, and whose stage has another weight than the reference's."""
    source = open_bundle(bundle)
    with write_bundle(out) as writer:
        for name in source.manifest.files:
            (writer.folder / name).parent.mkdir(exist_ok=True)
            (writer.folder / name).write_bytes(source.file(name).read_bytes())
        path = writer.folder / source.manifest.artefacts[stage].path
        model = onnx.load(path)
        weight = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.02), weight.name))
        path.with_name(path.name + ".data").unlink()
        onnx.save(model, path, save_as_external_data=True, location=path.name + ".data")
        fields = {name: getattr(source.manifest, name) for name in Manifest.__dataclass_fields__}
        writer.finish(Manifest(**(fields | {"files": writer.file_entries()})))
    return out


@pytest.mark.parametrize("stage", ["patch_encoder", "image_encoder", "decoder", "fov"])
@pytest.mark.usefixtures("known_tiny")
def test_a_changed_weight_fails_verify_in_its_stage(
    cli: Cli, tiny_bundle: Path, photos: Path, tmp_path: Path, stage: str
) -> None:
    changed = with_changed_weight(tiny_bundle, stage, tmp_path / "changed")
    done = cli("verify", changed, "--images", photos, "--json")
    assert done.code == 1
    failed = {failure.split()[1] for failure in done.json["failures"] if failure.startswith("stage ")}
    assert failed == {stage}


def test_a_changed_weight_is_refused_before_it_serves(
    cli: Cli, mini_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    changed = with_changed_weight(mini_bundle, "decoder", tmp_path / "changed")
    done = cli("infer", photos / "one.png", "--bundle", changed, "--out", tmp_path / "out")
    assert done.code == 1
    assert "this device doesn't reproduce the golden depth" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "depth-proo"), "there is no model 'depth-proo'; allowed are depth-pro, depth-pro-mini"),
        (("--target", "tflite"), "there is no target 'tflite'"),
        (("--sm", "89"), "have no effect on ONNX"),
        (("--target", "trt", "--bf16"), "TensorRT at bf16 is not built yet"),
        (("--target", "trt", "--opset", "18"), "TensorRT's graphs have opset 20"),
        (("--target", "trt", "--sm", "ampere"), "--sm is 'ampere'"),
        (("--target", "trt", "--workspace-mb", "0"), "--workspace-mb is 0"),
        (("--target", "trt", "--provider", "tensorrt", "--sm", "87"), "--sm is for tensorrt-rtx"),
        (("--int8",), "made and measured on a calibration set, and none was named"),
        (("--calib", "set"), "--calib goes with --int8"),
        (("--target", "trt", "--calib", "set", "--int8"), "set is no calibration set"),
        (("--fp16", "--fp32"), "not allowed with argument"),
        (("--tile-batch", "0"), "tile batch 0"),
        (("--tile-batch", "36"), "tile batch 36"),
        (("--opset", "23"), "opset 23"),
        (("--layout", "single", "--dynamic-batch"), "no tile batch to choose or leave open"),
        (("--layout", "single", "--tile-batch", "7"), "no tile batch to choose or leave open"),
        (("--weights", "nowhere.pt"), "there is no such file"),
        (("--weights", "TEXT"), "TEXT"),
        (("--weights", "random:x"), "has no seed"),
        (("--out", "FILE"), "is not a folder; a folder is meant"),
        (("--out", "PHOTOS"), "edgedepth wrote, and it won't be replaced"),
        (("--out", "/proc/bundle"), "can't be written"),
    ],
)
def test_an_export_that_cannot_be_met_says_why(
    cli: Cli, photos: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    text = tmp_path / "TEXT"
    text.write_text("not a checkpoint")
    places = {"FILE": text, "PHOTOS": photos, "TEXT": text}
    model = () if "--model" in words else ("--model", "depth-pro-mini")
    done = cli("export", *model, "--out", tmp_path / "out", *(places.get(word, word) for word in words))
    assert done.code == 2, done.err
    assert said in done.err
    assert not (tmp_path / "out").exists()


def test_depth_pro_without_its_weights_names_the_ways_out(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = cli("export", "--out", tmp_path / "out", "--json")
    assert done.code == 2
    for way in ("huggingface.co/apple/DepthPro", "--weights", "--model depth-pro-mini"):
        assert way in done.json["error"]["remedy"]


def test_one_picture_is_no_proof(cli: Cli, tiny_bundle: Path, photos: Path) -> None:
    done = cli("verify", tiny_bundle, "--images", photos / "one.png")
    assert done.code == 2
    assert "got 1 different pictures; parity needs 2 at least" in done.err


def test_verify_with_other_weights_is_refused(cli: Cli, mini_bundle: Path, photos: Path) -> None:
    done = cli("verify", mini_bundle, "--images", photos, "--weights", "random:1")
    assert done.code == 2
    assert "was made from weights" in done.err


def test_models_tells_what_is_here(cli: Cli) -> None:
    shown = cli("models")
    assert shown.code == 0
    assert re.search(r"^depth-pro +952\.0 M +1536² +not here", shown.out, re.MULTILINE)
    assert re.search(r"^rsa-depth-anything +89\.3 M +434×560 +local files", shown.out, re.MULTILINE)
    assert "DEMONSTRATION" in shown.out
    mini = cli("models", "--json").json["models"][1]
    assert (mini["name"], mini["state"], mini["tiles"]) == ("depth-pro-mini", "in the package", 35)


def test_doctor_tells_what_runs_and_why_not(cli: Cli) -> None:
    shown = cli("doctor")
    assert shown.code == 0
    targets = {target["name"]: target for target in cli("doctor", "--json").json["targets"]}
    assert targets["onnx"]["runs"]
    assert targets["onnx"]["exports"]
    assert "cpu" in targets["onnx"]["devices"]
    assert targets["coreml"]["runs"] == (sys.platform == "darwin")


@pytest.mark.usefixtures("traced_once")
def test_the_demo_leaves_pictures(cli: Cli, tmp_path: Path) -> None:
    done = cli("demo", "--out", tmp_path / "demo", "--json")
    assert done.code == 0
    assert done.json["verify"]["passed"]
    assert len(done.json["pictures"]) == 4
    for picture in (*done.json["pictures"], tmp_path / "demo" / "overview.jpg"):
        assert Path(picture).stat().st_size > 10_000
    assert "UNTRAINED" not in done.err


def test_every_command_takes_json_and_has_help(cli: Cli) -> None:
    for command in COMMANDS:
        done = cli(command, "--help")
        assert done.code == 0
        assert "--json" in done.out


@pytest.mark.parametrize("words", [(), ("fly",), ("export", "--fly"), ("infer",), ("inspect",)])
def test_a_command_that_is_none_exits_2(cli: Cli, words: tuple[str, ...]) -> None:
    assert cli(*words).code == 2


def test_an_error_is_json_too(cli: Cli, tmp_path: Path) -> None:
    done = cli("inspect", tmp_path / "nowhere", "--json")
    assert done.code == 2
    assert done.json["error"]["type"] == "BundleNotFoundError"


def test_the_library_leaves_the_root_logger_alone(cli: Cli) -> None:
    before = list(logging.getLogger().handlers)
    cli("models")
    assert logging.getLogger().handlers == before
    assert build_parser().prog == "edgedepth"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--device", "tpu"), "no device 'tpu'"),
        (("--device", "cuda:9"), "sees"),
        (("--workers", "0"), "workers is 0"),
        (("--effort", "2"), "effort is 2"),
        (("--batches", "0"), "batches is 0"),
        (("--ahead", "0.5"), "a GPU"),
        (("--ahead", "2"), "rendered ahead is 2"),
    ],
)
def test_a_training_that_can_t_start_is_refused_at_once(
    cli: Cli, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    done = cli("train", "mini", "--out", tmp_path / "run", *words)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [("--batches", "0.5"), ("--ahead", "0.5")])
def test_an_option_of_mini_is_refused_for_another_recipe(cli: Cli, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = cli("train", "rsa-mini", "--out", tmp_path / "run", *words)
    assert done.code == 2
    assert words[0] in done.err
    assert not (tmp_path / "run").exists()
