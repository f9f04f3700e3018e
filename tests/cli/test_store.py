"""The command `edgedepth store`: what is there, and what may go."""

from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edgedepth.core.bundle import MANIFEST, open_bundle, write_bundle
from edgedepth.core.store import LIMIT_VARIABLE, bundle_folder, bundles_folder

from .conftest import Cli

CONTENT = bytes(1000)
SIZE = len(CONTENT)


@pytest.fixture
def store(mini_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three bundles of SIZE bytes, whose manifests are the mini's but for their files: old, newer, newest."""
    monkeypatch.setenv("EDGEDEPTH_HOME", str(tmp_path / "home"))
    like = open_bundle(mini_bundle, check_hashes=False).manifest
    for year, name in enumerate(("old", "newer", "newest"), 2024):
        with write_bundle(bundles_folder() / name) as writer:
            (writer.folder / "artefact").write_bytes(CONTENT)
            artefacts = {stage: replace(artefact, path="artefact") for stage, artefact in like.artefacts.items()}
            manifest = replace(
                like,
                files=writer.file_entries(),
                artefacts=artefacts,
                golden=replace(like.golden, path="artefact"),
                created_utc=f"{year}-01-01T00:00:00Z",
            )
            writer.finish(manifest)
    return bundles_folder()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_list(cli: Cli, store: Path) -> None:
    facts = cli("store", "list", "--json").json
    assert [bundle["name"] for bundle in facts["bundles"]] == ["newest", "newer", "old"]
    assert {bundle["bytes"] for bundle in facts["bundles"]} == {SIZE}
    assert "3 bundles" in cli("store", "list").out


def test_an_empty_store(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEDEPTH_HOME", str(tmp_path / "nothing"))
    assert cli("store", "list", "--json").json["bundles"] == []
    assert cli("store", "prune", "--max-gb", "1").code == 0


@pytest.mark.parametrize(("bytes_", "left"), [(3 * SIZE, 3), (3 * SIZE - 1, 2), (SIZE, 1), (0, 0)])
def test_prune_takes_the_oldest(cli: Cli, store: Path, bytes_: int, left: int) -> None:
    done = cli("store", "prune", "--max-gb", f"{bytes_ / 1e9:.12f}")
    assert done.code == 0, done.err
    assert names(store) == {"newest", "newer", "old"} - set(["old", "newer", "newest"][: 3 - left])
    assert all(open_bundle(store / name) for name in names(store))


def test_no_export_begins_in_a_store_that_is_full(cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("export", "--model", "depth-pro-mini", "--weights", "absent.safetensors")
    monkeypatch.setenv(LIMIT_VARIABLE, f"{3 * SIZE / 1e9:.12f}")
    full = cli(*words)
    assert (full.code, f"and {LIMIT_VARIABLE} allows 3e-06" in full.err) == (2, True)
    assert "edgedepth store prune --max-gb 1.5e-06" in full.err
    assert names(store) == {"old", "newer", "newest"}
    elsewhere = cli(*words, "--out", store.parent / "elsewhere")
    assert "absent.safetensors: there is no such file" in elsewhere.err
    (store / "newest").rename(bundle_folder("depth-pro-mini", "onnx", "fp32"))  # would be replaced
    assert "absent.safetensors: there is no such file" in cli(*words).err
    monkeypatch.setenv(LIMIT_VARIABLE, "much")
    assert (cli(*words).code, "allowed are sizes in GB" in cli(*words).err) == (2, True)


def test_a_dry_run_deletes_nothing(cli: Cli, store: Path) -> None:
    facts = cli("store", "prune", "--max-gb", "0", "--dry-run", "--json").json
    assert facts == {"removed": ["newest", "newer", "old"], "bytes": 3 * SIZE, "dry_run": True}
    assert names(store) == {"old", "newer", "newest"}


def test_remove(cli: Cli, store: Path) -> None:
    assert cli("store", "remove", "newer", "old").code == 0
    assert names(store) == {"newest"}


def test_what_killed_writers_left_is_swept_and_what_they_set_aside_put_back(cli: Cli, store: Path) -> None:
    for left in (".old.new", ".other.gone"):
        (store / left).mkdir()
        (store / left / "half").write_bytes(bytes(1000))
    (store / "newer").rename(store / ".newer.old")
    facts = cli("store", "prune", "--max-gb", "1", "--json").json
    assert facts["bytes"] == 2000
    assert names(store) == {"old", "newer", "newest"}
    assert not [path.name for path in store.iterdir() if path.name.endswith((".new", ".old", ".gone"))]


@pytest.mark.skipif(os.name != "posix", reason="locks with fcntl")
def test_what_is_being_written_stays(cli: Cli, store: Path) -> None:
    (store / ".old.new").mkdir()
    with (store / ".old.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = cli("store", "remove", "old")
        assert (done.code, "another process is writing" in done.err) == (2, True)
        assert cli("store", "prune", "--max-gb", "1").code == 0
    assert (store / ".old.new").is_dir()
    assert names(store) == {"old", "newer", "newest"}


def test_somebodys_own_files_stay(cli: Cli, store: Path) -> None:
    (store / "old" / "thesis.tex").write_text("years of work")
    done = cli("store", "prune", "--max-gb", "0")
    assert (done.code, "won't be replaced" in done.err or "something other" in done.err) == (2, True)
    assert (store / "old" / "thesis.tex").exists()


def test_a_link_is_no_bundle_of_the_store(cli: Cli, store: Path, tmp_path: Path) -> None:
    shutil.move(store / "old", tmp_path / "elsewhere")
    (store / "old").symlink_to(tmp_path / "elsewhere")
    done = cli("store", "remove", "old")
    assert done.code == 2
    assert (tmp_path / "elsewhere" / MANIFEST).is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("list", "old"), "takes no names"),
        (("remove",), "no bundle was named"),
        (("remove", "absent"), "it has newer, newest, old"),
        (("remove", "../home"), "no bundle"),
        (("prune",), "goes by --max-gb"),
        (("prune", "--max-gb", "-1"), "allowed are 0 and more"),
        (("prune", "--max-gb", "nan"), "allowed are 0 and more"),
        (("prune", "old", "--max-gb", "1"), "takes no names"),
    ],
)
def test_mistakes(cli: Cli, store: Path, words: tuple[str, ...], said: str) -> None:
    done = cli("store", *words)
    assert (done.code, said in done.err) == (2, True), done.err
    assert names(store) == {"old", "newer", "newest"}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_store(cli: Cli, store: Path) -> None:
    store.chmod(0o500)
    try:
        assert cli("store", "list").code == 0
        assert cli("store", "prune", "--max-gb", "0").code == 2
    finally:
        store.chmod(0o700)
