"""A folder is replaced whole or not at all, and only when it is a bundle."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgedepth.core.bundle import MANIFEST, Bundle, BundleWriter, open_bundle, write_bundle
from edgedepth.core.errors import OutputError
from edgedepth.core.folders import replace_folder

Write = Callable[..., Bundle]


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def fail(target: Path, error: BaseException) -> None:
    with write_bundle(target) as writer:
        (writer.folder / "half.bin").write_bytes(b"half")
        raise error


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), KeyboardInterrupt(), SystemExit(3), FileNotFoundError("weights.pt")]
)
def test_an_exception_leaves_the_old_bundle_and_nothing_else(
    tmp_path: Path, make_bundle: Write, error: BaseException
) -> None:
    with pytest.raises(type(error)) as caught:
        fail(tmp_path / "new", error)
    assert caught.value is error  # what went wrong in the exporter is not ours to rename
    assert names_in(tmp_path) == {".new.lock"}
    bundle = make_bundle(tmp_path / "bundle")
    with pytest.raises(type(error)):
        fail(bundle.path, error)
    assert open_bundle(bundle.path) == bundle
    assert names_in(tmp_path) == {".new.lock", ".bundle.lock", "bundle"}


def test_an_old_bundle_is_replaced_by_the_new_one(tmp_path: Path, make_bundle: Write) -> None:
    make_bundle(tmp_path / "bundle", name="one")
    make_bundle(tmp_path / "bundle", name="other")
    assert open_bundle(tmp_path / "bundle").manifest.model.name == "other"
    assert names_in(tmp_path) == {".bundle.lock", "bundle"}


def test_a_rename_that_fails_puts_the_old_bundle_back(
    tmp_path: Path, make_bundle: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    rename = Path.rename

    def faulty(self: Path, target: Path) -> Path:
        if self.name == ".bundle.new":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", faulty)
    with pytest.raises(OutputError, match="Input/output error"):
        make_bundle(tmp_path / "bundle", name="other")
    assert open_bundle(bundle.path) == bundle
    assert names_in(tmp_path) == {".bundle.lock", "bundle"}


def test_all_of_it_is_on_the_disk_before_the_rename_shows_it(
    tmp_path: Path, make_bundle: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    at_the_rename: set[int] = set()
    rename = Path.rename

    def noted(self: Path, target: Path) -> Path:
        at_the_rename.update(flushed)
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_ino))
    monkeypatch.setattr(Path, "rename", noted)
    bundle = make_bundle(tmp_path / "bundle")
    assert {path.stat().st_ino for path in (bundle.path, *bundle.path.rglob("*"))} <= at_the_rename
    assert flushed[-1] == tmp_path.stat().st_ino  # that it was renamed is the last thing to be flushed


class TestTarget:
    @pytest.mark.parametrize(
        "name",
        ["with spaces", "Größe 深度", "[a-z]*?", "-rf", "$HOME", "new\nline", "trailing.", "deep/er/still", "a" * 240],
        ids=str.split,
    )
    def test_names(self, tmp_path: Path, make_bundle: Write, name: str) -> None:
        for model in ("one", "other"):
            make_bundle(tmp_path / name, name=model)
            assert open_bundle(tmp_path / name).manifest.model.name == model
        assert len(names_in((tmp_path / name).parent)) == 2

    @pytest.mark.parametrize("spelling", ["bundle", "./bundle", "bundle/", "sub/../bundle", "bundle//"])
    def test_relative_paths(
        self, tmp_path: Path, fill_small: Callable[[BundleWriter], None], monkeypatch: pytest.MonkeyPatch, spelling: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with write_bundle(spelling) as writer:
            monkeypatch.chdir("/")  # what a relative path means is settled at the start
            fill_small(writer)
        open_bundle(tmp_path / "bundle")
        assert names_in(tmp_path) == {".bundle.lock", "bundle"}

    def test_an_empty_folder_is_taken(self, tmp_path: Path, make_bundle: Write) -> None:
        (tmp_path / "bundle").mkdir()
        make_bundle(tmp_path / "bundle")

    @pytest.mark.parametrize("content", ["picture.png", ".git/config", MANIFEST, "sub/manifest.json", ".DS_Store"])
    def test_a_folder_with_somebody_s_files_is_left_alone(
        self, tmp_path: Path, make_bundle: Write, content: str
    ) -> None:
        # A manifest.json alone makes no bundle: browser extensions and web apps have one too.
        foreign = tmp_path / "folder" / content
        foreign.parent.mkdir(parents=True)
        foreign.write_text('{"manifest_version": 3, "name": "an extension"}')
        with pytest.raises(OutputError, match="won't be replaced") as caught:
            make_bundle(tmp_path / "folder")
        assert "--out" in caught.value.remedy
        assert foreign.read_text() == '{"manifest_version": 3, "name": "an extension"}'
        assert names_in(tmp_path) == {".folder.lock", "folder"}

    @pytest.mark.parametrize("content", ["notes.txt", "decoder/notes.txt", ".git/config"])
    def test_a_bundle_with_somebody_s_files_is_left_alone(
        self, bundle: Bundle, make_bundle: Write, content: str
    ) -> None:
        (bundle.path / content).parent.mkdir(exist_ok=True)
        (bundle.path / content).write_text("mine")
        with pytest.raises(OutputError, match="won't be replaced"):
            make_bundle(bundle.path)
        assert (bundle.path / content).read_text() == "mine"

    def test_a_damaged_bundle_is_replaced(self, bundle: Bundle, make_bundle: Write) -> None:
        bundle.file("golden.npz").unlink()
        bundle.file("decoder/model.onnx").write_bytes(b"damaged")
        (bundle.path / ".DS_Store").touch()
        make_bundle(bundle.path)

    def test_a_file_stands_there(self, tmp_path: Path, make_bundle: Write) -> None:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(OutputError, match="is not a folder"):
            make_bundle(tmp_path / "file")
        assert (tmp_path / "file").read_text() == "mine"

    @pytest.mark.parametrize("there", [True, False])
    def test_through_a_link_the_folder_behind_it_is_replaced(
        self, tmp_path: Path, make_bundle: Write, there: bool
    ) -> None:
        if there:
            make_bundle(tmp_path / "v1", name="one")
        (tmp_path / "links").mkdir()
        (tmp_path / "links" / "latest").symlink_to(tmp_path / "v1")
        make_bundle(tmp_path / "links" / "latest", name="other")
        assert open_bundle(tmp_path / "v1").manifest.model.name == "other"
        assert (tmp_path / "links" / "latest").is_symlink()
        assert names_in(tmp_path / "links") == {"latest"}
        assert names_in(tmp_path) == {".v1.lock", "v1", "links"}

    def test_a_link_to_itself(self, tmp_path: Path, make_bundle: Write) -> None:
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(OutputError):
            make_bundle(tmp_path / "loop")

    def test_the_parent_is_a_file(self, tmp_path: Path, make_bundle: Write) -> None:
        (tmp_path / "file").touch()
        for below in ("file/bundle", "file/deeper/bundle"):
            with pytest.raises(OutputError, match="can't be written") as caught:
                make_bundle(tmp_path / below)
            assert "--out" in caught.value.remedy

    @pytest.mark.parametrize("name", ["x" * 300, "nul\0byte", "\ud800"], ids=["long", "nul", "surrogate"])
    def test_names_that_no_file_system_takes(self, tmp_path: Path, make_bundle: Write, name: str) -> None:
        with pytest.raises(OutputError, match="can't be written"):
            make_bundle(tmp_path / name)

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux' /proc")
    def test_a_file_system_without_new_files(self, make_bundle: Write) -> None:
        with pytest.raises(OutputError, match="can't be written"):
            make_bundle(Path("/proc/edgedepth/bundle"))

    def test_the_root(self, make_bundle: Write) -> None:
        before = names_in(Path("/"))
        with pytest.raises(OutputError, match="mount point"):
            make_bundle(Path("/"))
        assert names_in(Path("/")) == before


# --- a disk of its own


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    mount = shutil.which("mount")
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root on Linux")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


BIG = 2 << 20


def write_bytes(path: Path) -> None:
    path.write_bytes(bytes(BIG))


def write_tofile(path: Path) -> None:
    np.ones(BIG, np.uint8).tofile(path)  # its OSError has no errno


def write_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, depth=np.ones(BIG, np.uint8))


@pytest.mark.parametrize("write", [write_bytes, write_tofile, write_npz])
def test_a_full_disk_in_the_middle(disk: Path, make_bundle: Write, write: Callable[[Path], None]) -> None:
    def export() -> None:
        with write_bundle(disk / "bundle") as writer:
            write(writer.folder / "model.onnx")

    with pytest.raises(OutputError, match="can't be written") as caught:
        export()
    assert "free space" in caught.value.remedy
    assert names_in(disk) == {".bundle.lock"}
    bundle = make_bundle(disk / "bundle")
    with pytest.raises(OutputError, match="can't be written"):
        export()
    assert open_bundle(bundle.path) == bundle
    assert names_in(disk) == {".bundle.lock", "bundle"}


def test_a_full_disk_at_every_stage_of_a_write(disk: Path, make_bundle: Write) -> None:
    """Leave room for one page more each time, until the write succeeds: it fails at each of its files in turn."""
    bundle = make_bundle(disk / "bundle", name="old")
    free = shutil.disk_usage(disk).free
    page = os.sysconf("SC_PAGE_SIZE")
    failures = 0
    for room in range(0, 60 * page, page):
        (disk / "ballast").write_bytes(bytes(free - room))
        problem = ""
        try:
            make_bundle(disk / "bundle", name="new")
            break
        except OutputError as error:
            problem = error.problem
        failures += 1
        assert "No space left" in problem
        assert open_bundle(bundle.path) == bundle
        assert names_in(disk) == {".bundle.lock", "bundle", "ballast"}
    assert failures > 4
    assert open_bundle(disk / "bundle").manifest.model.name == "new"


def test_an_error_without_a_number_on_a_disk_with_space_is_the_block_s_own(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < BIG:
        pytest.skip("this disk is full")
    with pytest.raises(OSError, match="can't load the config") as caught:
        fail(tmp_path / "bundle", OSError("can't load the config"))
    assert not isinstance(caught.value, OutputError)


def test_a_disk_that_is_read_only(disk: Path, make_bundle: Write) -> None:
    bundle = make_bundle(disk / "bundle")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(OutputError, match="Read-only file system"):
        make_bundle(disk / "bundle")
    with pytest.raises(OutputError, match="Read-only file system"):
        make_bundle(disk / "new" / "bundle")
    assert open_bundle(bundle.path) == bundle


def test_a_mount_point_is_refused_before_the_work_begins(disk: Path, make_bundle: Write) -> None:
    # A container's volume, typically: it can't be renamed, and that would come out at the very end.
    with pytest.raises(OutputError, match="mount point") as caught:
        make_bundle(disk)
    assert "inside" in caught.value.remedy
    make_bundle(disk / "bundle")


def test_replace_folder_asks_whose_folder_it_is(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    with replace_folder(tmp_path / "folder", ours=lambda folder: (folder / "file").exists()) as work:
        (work / "new").touch()
    assert names_in(tmp_path / "folder") == {"new"}
