"""edgedepth rsa fit and rsa eval, as a user calls them, on a folder of three pictures with captions."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgedepth import EdgeDepth, export_bundle
from edgedepth.cli import main
from edgedepth.core.bundle import Bundle
from edgedepth.datasets.captions import open_captioned
from edgedepth.rsa.evaluating import FIGURES, GLOBAL, IMAGE, LINEAR, MEDIAN, RSA, WRONG
from edgedepth.rsa.seeing import look

from .conftest import Frame

WORDS = ("An office with two desks", "A street with a car", "A table-top with a cup")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures; the last has no caption."""
    path = tmp_path_factory.mktemp("captioned")
    random = np.random.default_rng(0)
    for index, metres in enumerate((3.0, 20.0, 0.6, 5.0)):
        noise = cv2.resize(random.random((9, 12, 3)).astype(np.float32), (96, 72), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(path / f"p{index}.png"), (np.clip(noise, 0, 1) * 255).astype(np.uint8))
        np.save(path / f"p{index}.depth.npy", (metres * (1 + random.random((72, 96)))).astype(np.float32))
    for index, caption in enumerate(WORDS):
        (path / f"p{index}.txt").write_text(f"{caption}\n{caption} in a photo\n")
    return path


def fit(folder: Path, bundle: Bundle, out: Path, *words: str) -> int:
    call = ["rsa", "fit", str(folder), "--relative", str(bundle.path), "--out", str(out)]
    return main([*call, "--epochs", "3", "--lr", "1e-3", "--json", *words])


@pytest.fixture(scope="module")
def fitted(folder: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fit") / "out"
    assert fit(folder, bundle, out) == 0
    return out


def test_a_fit_leaves_a_head_that_exports_and_runs(fitted: Path, pictures: list[Frame], tmp_path: Path) -> None:
    assert {path.name for path in fitted.iterdir()} >= {"head.safetensors", "baselines.safetensors", "curves.csv"}
    weights = f"relative=random:0,text=random:0,head={fitted / 'head.safetensors'}"
    exported = export_bundle("rsa-tiny", "onnx", weights=weights, out=tmp_path / "bundle")
    with EdgeDepth(exported.path) as model:
        office, street = (model.infer(pictures[0], caption=caption).depth for caption in WORDS[:2])
        features = model.caption_features(WORDS[0])
        assert model.read_caption(WORDS[0]) == pytest.approx(model.read_caption(WORDS[0]))
    assert features.shape == (1024,)
    assert not np.allclose(office, street)


def test_the_frozen_parts_run_once(
    folder: Path, bundle: Bundle, fitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (fitted / "head.safetensors").read_bytes()
    assert fit(folder, bundle, fitted) == 0
    told = capsys.readouterr()
    assert "computed before" in told.err
    report = json.loads(told.out)
    assert (report["pictures"], report["captions"], report["epochs"]) == (3, 6, 3)
    assert (fitted / "head.safetensors").read_bytes() == before
    (fitted / "features.npz").write_bytes(b"PK damaged")
    assert fit(folder, bundle, fitted) == 0
    assert "made anew" in capsys.readouterr().err


def test_a_picture_without_captions_is_told_and_left_out(folder: Path, bundle: Bundle) -> None:
    with EdgeDepth(bundle.path) as model:
        data_set = open_captioned(folder, first_seed=0)
        seen = list(look(model, data_set, data_set.samples.sample_names))
    assert [one.sample.name for one in seen] == ["p0", "p1", "p2"]


def test_the_table(folder: Path, bundle: Bundle, fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["rsa", "eval", str(folder), "--bundle", str(bundle.path), "--baselines", str(fitted), "--limit", "3"]
    assert main([*call, "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert list(table["rows"]) == [MEDIAN, LINEAR, GLOBAL, IMAGE, RSA]
    assert all(list(figures) == list(FIGURES) for figures in table["rows"].values())
    assert main([*call, "--wrong-captions"]) == 0
    text = capsys.readouterr().out
    assert WRONG in text
    assert "RSA closes" in text


class TestBadInput:
    def test_a_model_that_reads_no_captions(
        self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        call = ["rsa", "fit", str(folder), "--relative", "depth-pro-mini", "--out", str(tmp_path / "out")]
        assert main(call) == 2
        assert "reads no captions" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_no_model(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["rsa", "fit", str(folder)]) == 2
        assert "--relative rsa-mini" in capsys.readouterr().err

    def test_a_folder_of_another_fit(
        self, folder: Path, bundle: Bundle, fitted: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert fit(folder, bundle, fitted, "--loss", "huber") == 2
        assert "other settings" in capsys.readouterr().out

    def test_settings_that_no_fit_has(
        self, folder: Path, bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert fit(folder, bundle, tmp_path / "out", "--epochs", "0") == 2
        assert "epochs is 0" in capsys.readouterr().out

    def test_nothing_with_captions(
        self, folder: Path, bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "words").mkdir()
        assert fit(folder, bundle, tmp_path / "out", "--captions", str(tmp_path / "words")) == 1
        assert "none of the 4 samples" in capsys.readouterr().out

    def test_baselines_of_something_else(
        self, folder: Path, bundle: Bundle, fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "baselines.safetensors").write_bytes((fitted / "head.safetensors").read_bytes())
        call = ["rsa", "eval", str(folder), "--bundle", str(bundle.path), "--baselines", str(tmp_path)]
        assert main(call) == 2
        assert "holds no baselines" in capsys.readouterr().err
