"""The command `edgedepth pack`, and what inspect, verify, sign and build make of a pack."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgedepth import EdgeDepth
from edgedepth.core.bundle import MANIFEST, open_bundle, write_bundle
from edgedepth.core.errors import SignatureError
from edgedepth.core.pack import open_pack
from edgedepth.core.signing import TRUSTED_KEY_VARIABLE

from .conftest import Cli, draw_photo


@pytest.fixture
def coreml(mini_bundle: Path, tmp_path: Path) -> Path:
    """A bundle whose manifest says that it is for Core ML: nothing that runs here."""
    source = open_bundle(mini_bundle)
    with write_bundle(tmp_path / "coreml") as writer:
        shutil.copytree(mini_bundle, writer.folder, dirs_exist_ok=True)
        for name in (MANIFEST, "manifest.sha256"):
            (writer.folder / name).unlink()
        shutil.rmtree(writer.folder / "reports", ignore_errors=True)
        writer.finish(replace(source.manifest, target="coreml", precision="fp16"))
    return tmp_path / "coreml"


@pytest.fixture
def packed(cli: Cli, coreml: Path, mini_bundle: Path, tmp_path: Path) -> Path:
    done = cli("pack", coreml, mini_bundle, "--out", tmp_path / "pack")
    assert done.code == 0, done.err
    assert "here EdgeDepth takes onnx-fp32" in done.out
    return tmp_path / "pack"


def test_inspect_tells_what_runs_here_and_why_not_the_others(cli: Cli, packed: Path) -> None:
    shown = cli("inspect", packed)
    assert shown.code == 0, shown.err
    assert "Core ML runs on macOS" in shown.out
    facts = cli("inspect", packed, "--json").json
    assert facts["chosen"] == "onnx-fp32"
    assert [(name, one["runs"]) for name, one in facts["targets"].items()] == [
        ("coreml-fp16", False),
        ("onnx-fp32", True),
    ]
    (packed / "targets" / "coreml-fp16" / "golden.npz").write_bytes(b"")
    broken = cli("inspect", packed)
    assert (broken.code, "coreml-fp16/golden.npz has 0 bytes" in broken.err) == (2, True)


def test_infer_says_what_it_took(cli: Cli, packed: Path, tmp_path: Path) -> None:
    photo = draw_photo(tmp_path / "photo.jpg", f35=28)
    done = cli("infer", photo, "--model", packed, "--out", tmp_path / "depth.png")
    assert done.code == 0, done.err
    assert "of 2 bundles" in done.err
    refused = cli("infer", photo, "--model", packed, "--backend", "openvino", "--out", tmp_path / "depth.png")
    assert (refused.code, "openvino was asked for" in refused.err) == (2, True)


def test_a_pack_grows_and_refuses_what_it_has(cli: Cli, packed: Path, mini_bundle: Path, tmp_path: Path) -> None:
    twice = cli("pack", packed, mini_bundle, "--out", tmp_path / "other")
    assert (twice.code, "are both onnx fp32" in twice.err) == (2, True)
    again = cli("pack", packed, "--out", tmp_path / "other", "--json")
    assert list(again.json["targets"]) == ["coreml-fp16", "onnx-fp32"]


def test_what_takes_one_bundle_is_told_their_names(cli: Cli, packed: Path) -> None:
    done = cli("debug", packed)
    assert (done.code, f"{packed}/targets/onnx-fp32" in done.err) == (2, True)


def test_a_signed_pack(
    cli: Cli, packed: Path, mini_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "fleet.key"
    assert cli("sign", "--new-key", key, "--no-password").code == 0
    monkeypatch.setenv(TRUSTED_KEY_VARIABLE, f"{key}.pub")
    with pytest.raises(SignatureError, match="not signed"):
        EdgeDepth(packed)
    assert "pack of coreml-fp16, onnx-fp32" in cli("sign", packed, "--secret-key", key, "--no-password").out
    for path in (packed, packed / "targets" / "onnx-fp32"):
        with EdgeDepth(path, self_test="never") as depth:
            assert depth.infer(np.zeros((32, 32, 3), np.uint8)).precision == "fp32"
    repacked = tmp_path / "repacked"
    assert cli("pack", packed / "targets" / "onnx-fp32", "--out", repacked).code == 0
    shutil.copy(packed / "targets.json.minisig", repacked)
    with pytest.raises(SignatureError, match="another key, or changed"):
        EdgeDepth(repacked)


def test_verify_names_what_it_could_not(cli: Cli, known_tiny: object, tiny_bundle: Path, tmp_path: Path) -> None:
    source = open_bundle(tiny_bundle)
    with write_bundle(tmp_path / "kit") as writer:
        shutil.copytree(tiny_bundle, writer.folder, dirs_exist_ok=True)
        for name in (MANIFEST, "manifest.sha256"):
            (writer.folder / name).unlink()
        writer.finish(replace(source.manifest, target="tensorrt"))
    assert cli("pack", tmp_path / "kit", tiny_bundle, "--out", tmp_path / "pack").code == 0
    photos = [draw_photo(tmp_path / f"{seed}.png", seed=seed) for seed in range(2)]
    done = cli("verify", tmp_path / "pack", "--images", *photos, "--weights", "random:0", "--json")
    assert done.code == 0, done.err
    assert done.json["targets"]["onnx-fp32"]["passed"]
    assert "tensorrt-fp32 is not verified" in done.err
    assert list(done.json["not_verified"]) == ["tensorrt-fp32"]
    assert open_pack(tmp_path / "pack").bundle("onnx-fp32")  # the report that it keeps is outside of the seal
