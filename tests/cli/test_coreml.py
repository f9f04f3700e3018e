"""--target coreml as a user calls it on a machine without Core ML: exported, verified off-device, refused to run."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgedepth.cli import main
from edgedepth.core.bundle import MANIFEST, MANIFEST_DIGEST, Bundle, open_bundle
from edgedepth.core.errors import DeviceError
from edgedepth.models.loading import LoadedModel
from edgedepth.models.registry import MODELS
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.coreml_placement import placement_of
from edgedepth.runtimes.coreml_session import CoreMlBackend
from edgedepth.verify.mil import load_package

from .conftest import Cli

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="a Mac runs Core ML itself")


@pytest.fixture(scope="module")
def export(tiny: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Path]]:
    """Exports the smallest model, which loads by its name while this module runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, tiny.entry.name, tiny.entry)

        def run(*words: str) -> Path:
            out = tmp_path_factory.mktemp("coreml") / "bundle"
            asked = ("--model", tiny.entry.name, "--weights", "random:0", "--target", "coreml", "--out", str(out))
            assert main(["export", *asked, *words]) == 0
            return out

        yield run


@pytest.fixture(scope="module")
def bundle(export: Callable[..., Path]) -> Path:
    """At fp16, the default, in the Neural Engine's layout."""
    return export("--compute-layout", "ane")


@pytest.fixture(scope="module")
def pictured(export: Callable[..., Path]) -> Path:
    """With picture inputs."""
    return export("--image-input")


@pytest.fixture(scope="module")
def joined(export: Callable[..., Path]) -> Bundle:
    """Functions of one package, with weights of 8 bits."""
    return open_bundle(export("--int8", "--multifunction", "--deployment-target", "macOS15"))


def test_verify_is_labelled_on_every_line(cli: Cli, bundle: Path, photos: Path) -> None:
    done = cli("verify", bundle, "--images", photos)
    assert done.code == 0, done.out + done.err
    lines = done.out.splitlines()
    heads = [line for line in lines if line.startswith(("end to end ", "stage "))]
    assert len(heads) == 2
    assert all("verified off-device" in line for line in lines if line not in heads)
    assert f"verified off-device: {bundle}" in done.err  # the log
    assert "not that a device loads them" in done.err


def test_verify_as_json(cli: Cli, bundle: Path, photos: Path) -> None:
    report = cli("verify", bundle, "--images", photos, "--json").json
    assert report["passed"]
    assert report["where"] == "verified off-device"
    assert set(report["stages"]) == {"patch_encoder", "image_encoder", "decoder", "fov"}


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    return shutil.copytree(bundle, tmp_path / "copied")


def weights_of(bundle: Path, stage: str = "decoder") -> Path:
    return bundle / f"{stage}/{stage}.mlpackage/Data/com.apple.CoreML/weights/weight.bin"


def seal(bundle: Path) -> None:
    """Make the manifest agree with what the files are now, as whoever can write the folder can."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    for name, entry in manifest["files"].items():
        data = (bundle / name).read_bytes()
        entry.update(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    (bundle / MANIFEST).write_text(text)
    (bundle / MANIFEST_DIGEST).write_text(f"{hashlib.sha256(text.encode()).hexdigest()}  {MANIFEST}\n")


def test_a_flipped_byte_is_found_by_the_bundle(cli: Cli, copied: Path, photos: Path) -> None:
    path = weights_of(copied)
    data = bytearray(path.read_bytes())
    data[-100] ^= 0xFF
    path.write_bytes(data)
    done = cli("verify", copied, "--images", photos)
    assert done.code == 2
    assert "weight.bin has SHA-256" in done.err


def test_other_weights_under_a_new_seal_fail(cli: Cli, copied: Path, photos: Path) -> None:
    path = weights_of(copied)
    data = np.frombuffer(path.read_bytes(), np.float16).copy()
    data[64:200] *= -1  # values of the first tensor, behind two headers of 64 bytes
    path.write_bytes(data.tobytes())
    seal(copied)
    done = cli("verify", copied, "--images", photos)
    assert done.code == 1
    assert "FAILED (verified off-device): stage decoder" in done.out
    assert done.out.splitlines()[-1] == "FAILED on 2 pictures (verified off-device)"


def test_truncated_weights_under_a_new_seal_fail(cli: Cli, copied: Path, photos: Path) -> None:
    path = weights_of(copied)
    path.write_bytes(path.read_bytes()[:-5000])
    seal(copied)
    done = cli("verify", copied, "--images", photos)
    assert done.code == 2
    assert "weight.bin" in done.err


def test_a_device_by_name_is_not_pretended(cli: Cli, bundle: Path, photos: Path) -> None:
    done = cli("verify", bundle, "--images", photos, "--device", "npu")
    assert done.code == 2
    assert "its evaluator is no device" in done.err


def test_infer_tells_where_it_runs(cli: Cli, bundle: Path, photos: Path) -> None:
    done = cli("infer", photos / "one.png", "--bundle", bundle)
    assert done.code == 2
    assert "Core ML runs on macOS" in done.err
    assert "edgedepth verify BUNDLE" in done.err


def test_the_backend_refuses_before_it_looks_at_coremltools(bundle: Path) -> None:
    with pytest.raises(DeviceError, match="Core ML runs on macOS"):
        CoreMlBackend().open(open_bundle(bundle), "decoder", SessionOptions())


def test_doctor(cli: Cli, bundle: Path) -> None:
    target = {target["name"]: target for target in cli("doctor", "--json").json["targets"]}["coreml"]
    assert target["exports"]
    assert not target["runs"]
    assert "Core ML runs on macOS" in target["reason"]
    placed = cli("doctor", "--bundle", bundle)
    assert placed.code == 2
    assert "Core ML runs on macOS" in placed.err
    assert placement_of(open_bundle(bundle)) is None  # no Mac, nothing to tell


def test_one_package_of_several_functions(cli: Cli, joined: Bundle, photos: Path) -> None:
    assert {artefact.path for artefact in joined.manifest.artefacts.values()} == {
        "depth_pro_tiny.mlpackage/Manifest.json"
    }
    done = cli("verify", joined.path, "--images", photos, "--json")
    assert done.code == 0, done.out + done.err
    assert set(done.json["stages"]) == {"patch_encoder", "image_encoder", "decoder", "fov"}


def test_the_layernorms_of_the_neural_engines_layout_are_one_operation_each(bundle: Path) -> None:
    """coremltools fuses them where it knows the pattern; op by op they would be rounded ten times."""
    program = load_package(bundle / "patch_encoder/patch_encoder.mlpackage")
    kinds = Counter(operation.type for operation in program.functions["main"].operations)
    assert kinds["layer_norm"] == 2 * 2 + 1  # two blocks
    assert kinds["rsqrt"] == kinds["reduce_mean"] == 0


def test_what_int8_spares(joined: Bundle) -> None:
    program = load_package(joined.path / "depth_pro_tiny.mlpackage")
    large = 2048  # weights; coremltools leaves smaller constants as they are
    kept = " ".join(name for name, values in program.constants("patch_encoder").items() if values.size > large)
    assert "vit_patch_embed_proj_weight" in kept
    assert "vit_blocks_0_mlp_fc1_weight" in kept
    assert "vit_blocks_1" not in kept


def test_pictures_of_8_bits_are_judged_apart(cli: Cli, pictured: Path, photos: Path) -> None:
    done = cli("verify", pictured, "--images", photos, "--json")
    assert done.code == 0, done.out + done.err
    rounding = done.json["rounding"]
    assert 0 < rounding["max_rel"] <= 5e-2
    assert rounding["fov_deg"] > 0


def test_the_newest_bundle_that_can_run_here_is_chosen(
    cli: Cli, bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEDEPTH_HOME", str(tmp_path))
    shutil.copytree(bundle, tmp_path / "bundles" / "mini")
    done = cli("infer", photos / "one.png")
    assert done.code == 2
    assert "there is no bundle in" in done.err


def test_swift_constants_come_from_the_manifest(cli: Cli, bundle: Path) -> None:
    done = cli("inspect", bundle, "--swift")
    assert done.code == 0
    assert "static let inputSize = 512" in done.out
    assert "Level(scale: 1, steps: 5, stride: 96, padding: 1)," in done.out
    assert '"decoder": "decoder/decoder",' in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bf16",), "Core ML at bf16 is not built yet"),
        (("--layout", "single"), "stage by stage"),
        (("--tile-batch", "35"), "wrong beyond 9"),
        (("--deployment-target", "iOS11"), "there is no deployment target 'iOS11'"),
        (("--compute-layout", "ane", "--target", "onnx"), "ONNX has no deployment target"),
    ],
)
def test_an_export_that_cannot_be_met_says_why(cli: Cli, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = cli("export", "--model", "depth-pro-mini", "--target", "coreml", "--out", tmp_path / "out", *words)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "out").exists()
