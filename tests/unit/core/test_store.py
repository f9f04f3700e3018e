"""The artefact store: where it is, and what is in it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgedepth.core import store
from edgedepth.core.bundle import MANIFEST, Bundle
from edgedepth.core.errors import OutputError


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDGEDEPTH_HOME", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")


class TestHome:
    def test_edgedepth_home_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", "/xdg")
        monkeypatch.setenv("EDGEDEPTH_HOME", "/data/depth")
        assert store.home() == Path("/data/depth")
        monkeypatch.setenv("EDGEDEPTH_HOME", "~/depth")
        assert store.home() == Path("/home/somebody/depth")

    @pytest.mark.parametrize(
        ("platform", "variables", "expected"),
        [
            ("linux", {}, "/home/somebody/.local/share/edgedepth"),
            ("linux", {"EDGEDEPTH_HOME": ""}, "/home/somebody/.local/share/edgedepth"),
            ("linux", {"XDG_DATA_HOME": "/xdg"}, "/xdg/edgedepth"),
            ("linux", {"XDG_DATA_HOME": ""}, "/home/somebody/.local/share/edgedepth"),
            ("darwin", {"XDG_DATA_HOME": "/xdg"}, "/home/somebody/Library/Application Support/edgedepth"),
            ("win32", {"LOCALAPPDATA": "/local"}, "/local/edgedepth"),
            ("win32", {"LOCALAPPDATA": ""}, "/home/somebody/AppData/Local/edgedepth"),
        ],
    )
    def test_default_by_platform(
        self, monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str
    ) -> None:
        monkeypatch.setattr(sys, "platform", platform)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert store.home() == Path(expected)
        assert store.bundles_folder() == Path(expected, "bundles")
        assert store.weights_folder() == Path(expected, "weights")

    def test_a_user_without_a_home_is_told_the_cure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # What expanduser() gives in a container that runs under a user id without an entry.
        monkeypatch.setattr("os.path.expanduser", lambda path: path)
        monkeypatch.setattr(sys, "platform", "linux")
        with pytest.raises(OutputError, match="EDGEDEPTH_HOME"):
            store.home()


def test_bundle_folder_names_model_target_precision_and_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEDEPTH_HOME", "/data")
    assert store.bundle_folder("depth-pro", "onnx", "fp16") == Path("/data/bundles/depth-pro-onnx-fp16")
    assert store.bundle_folder("m", "onnx", "fp32", "single") == Path("/data/bundles/m-onnx-fp32-single")


class TestStoredBundles:
    @pytest.fixture
    def bundles(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("EDGEDEPTH_HOME", str(tmp_path))
        return store.bundles_folder()

    def test_an_absent_or_empty_store_is_empty(self, bundles: Path) -> None:
        assert store.stored_bundles() == []
        bundles.mkdir()
        assert store.stored_bundles() == []

    def test_newest_first(self, bundles: Path, make_bundle: Callable[..., Bundle]) -> None:
        for name, created in (
            ("b", "2025-06-01T00:00:00Z"),
            ("a", "2024-01-01T00:00:00Z"),
            ("c", "2025-02-01T00:00:00Z"),
        ):
            make_bundle(bundles / name, name=name, created_utc=created)
        assert [bundle.manifest.model.name for bundle in store.stored_bundles()] == ["b", "c", "a"]
        assert [bundle.path.name for bundle in store.stored_bundles()] == ["b", "c", "a"]

    def test_what_is_no_readable_bundle_is_left_out(self, bundles: Path, make_bundle: Callable[..., Bundle]) -> None:
        make_bundle(bundles / "good")
        (bundles / "foreign").mkdir()
        (bundles / "foreign" / "picture.png").touch()
        (bundles / "a-file").touch()
        for name, manifest in {
            "broken": b"{",
            "newer": b'{"schema_version": 99}',
            "binary": b"\xff\xfe\x00",
        }.items():
            (bundles / name).mkdir()
            (bundles / name / MANIFEST).write_bytes(manifest)
        (bundles / "folder-as-manifest" / MANIFEST).mkdir(parents=True)
        (bundles / "looped").symlink_to("looped")
        shutil.copytree(bundles / "good", bundles / ".good.old")  # what a killed writer leaves
        assert [bundle.path.name for bundle in store.stored_bundles()] == ["good"]

    def test_files_are_not_looked_at(self, bundles: Path, make_bundle: Callable[..., Bundle]) -> None:
        make_bundle(bundles / "hollow").file("golden.npz").unlink()
        assert [bundle.path.name for bundle in store.stored_bundles()] == ["hollow"]
