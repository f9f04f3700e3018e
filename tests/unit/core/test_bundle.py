"""A bundle opens as it was written, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgedepth.core.bundle import (
    MANIFEST,
    MANIFEST_DIGEST,
    Bundle,
    BundleWriter,
    is_bundle,
    open_bundle,
    peek_manifest,
    write_bundle,
)
from edgedepth.core.errors import (
    BundleError,
    BundleNotFoundError,
    BundlePathError,
    BundleSchemaError,
    BundleTamperedError,
)

ARTEFACT = "decoder/model.onnx.data"
NOBODY = 65534


def edit(bundle: Bundle, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest as somebody would who knows about manifest.sha256."""
    document = json.loads((bundle.path / MANIFEST).read_text(encoding="utf-8"))
    change(document)
    seal(bundle.path, json.dumps(document).encode())


def seal(folder: Path, manifest: bytes) -> None:
    (folder / MANIFEST).write_bytes(manifest)
    (folder / MANIFEST_DIGEST).write_text(f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n")


class TestRoundTrip:
    def test_what_was_written_is_what_is_opened(self, bundle: Bundle, tmp_path: Path) -> None:
        assert open_bundle(bundle.path) == bundle
        assert open_bundle(str(bundle.path)) == bundle
        assert peek_manifest(bundle.path) == bundle.manifest
        assert is_bundle(bundle.path)
        assert not is_bundle(tmp_path)
        assert bundle.size == sum(path.stat().st_size for path in map(bundle.file, bundle.manifest.files))
        assert bundle.file(ARTEFACT).read_bytes() == bytes(range(256)) * 16

    def test_every_file_is_declared_and_the_manifest_hashed(self, bundle: Bundle) -> None:
        entry = bundle.manifest.files[ARTEFACT]
        assert entry.sha256 == hashlib.sha256(bundle.file(ARTEFACT).read_bytes()).hexdigest()
        assert entry.size == 4096
        assert not {MANIFEST, MANIFEST_DIGEST} & set(bundle.manifest.files)

    @pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs coreutils' sha256sum")
    def test_sha256sum_reads_the_digest(self, bundle: Bundle) -> None:
        subprocess.run(["sha256sum", "-c", MANIFEST_DIGEST], cwd=bundle.path, check=True, capture_output=True)

    def test_a_copied_or_linked_bundle_opens(self, bundle: Bundle, tmp_path: Path) -> None:
        shutil.copytree(bundle.path, tmp_path / "copy")
        (tmp_path / "link").symlink_to(bundle.path)
        for name in ("copy", "link"):
            assert open_bundle(tmp_path / name).manifest == bundle.manifest

    def test_what_file_managers_drop_is_let_pass(self, bundle: Bundle) -> None:
        (bundle.path / ".DS_Store").write_bytes(b"finder")
        (bundle.path / "decoder" / "Thumbs.db").write_bytes(b"explorer")
        assert open_bundle(bundle.path) == bundle


class TestContent:
    @pytest.mark.parametrize("name", [ARTEFACT, "golden.npz", "patch_encoder/model.onnx"])
    @pytest.mark.parametrize("position", [0, -1])
    def test_one_flipped_bit(self, bundle: Bundle, name: str, position: int) -> None:
        data = bytearray(bundle.file(name).read_bytes())
        data[position] ^= 1
        bundle.file(name).write_bytes(data)
        with pytest.raises(BundleTamperedError, match=f"{name} has SHA-256"):
            open_bundle(bundle.path)
        assert open_bundle(bundle.path, check_hashes=False) == bundle

    @pytest.mark.parametrize("check_hashes", [True, False])
    def test_cut_short_or_longer(self, bundle: Bundle, check_hashes: bool) -> None:
        data = bundle.file(ARTEFACT).read_bytes()
        for wrong in (b"", data[:-1], data + b"\0"):
            bundle.file(ARTEFACT).write_bytes(wrong)
            with pytest.raises(BundleTamperedError, match=f"has {len(wrong)} bytes; the manifest says 4096"):
                open_bundle(bundle.path, check_hashes=check_hashes)

    @pytest.mark.parametrize("check_hashes", [True, False])
    def test_missing(self, bundle: Bundle, check_hashes: bool) -> None:
        bundle.file(ARTEFACT).unlink()
        with pytest.raises(BundleTamperedError, match="is missing"):
            open_bundle(bundle.path, check_hashes=check_hashes)

    @pytest.mark.parametrize(
        "name", ["notes.txt", "decoder/extra.onnx.data", ".hidden", "decoder/manifest.json", "DECODER"]
    )
    def test_a_file_that_nobody_declared(self, bundle: Bundle, name: str) -> None:
        (bundle.path / name).write_bytes(b"")
        with pytest.raises(BundleTamperedError, match=f"{name} is not a file of this bundle"):
            open_bundle(bundle.path, check_hashes=False)

    def test_case_matters(self, bundle: Bundle) -> None:
        bundle.file("golden.npz").rename(bundle.path / "Golden.NPZ")
        with pytest.raises(BundleTamperedError, match=r"golden\.npz is missing"):
            open_bundle(bundle.path)

    def test_a_folder_in_a_file_s_place(self, bundle: Bundle) -> None:
        bundle.file(ARTEFACT).unlink()
        bundle.file(ARTEFACT).mkdir()
        with pytest.raises(BundleTamperedError, match="is missing"):
            open_bundle(bundle.path)

    @pytest.mark.timeout(20)
    @pytest.mark.parametrize("name", [ARTEFACT, MANIFEST, MANIFEST_DIGEST, "extra"])
    def test_a_pipe_does_not_hang(self, bundle: Bundle, name: str) -> None:
        bundle.file(name).unlink(missing_ok=True)
        os.mkfifo(bundle.file(name))
        with pytest.raises(BundleError):
            open_bundle(bundle.path)

    @pytest.mark.timeout(20)
    def test_a_pipe_that_passes_for_an_empty_file(self, bundle: Bundle) -> None:
        bundle.file(ARTEFACT).unlink()
        os.mkfifo(bundle.file(ARTEFACT))
        edit(bundle, lambda document: document["files"][ARTEFACT].update(size=0))
        with pytest.raises(BundleTamperedError, match="is not a plain file"):
            open_bundle(bundle.path)

    def test_two_files_swapped(self, bundle: Bundle) -> None:
        one, other = bundle.file("decoder/model.onnx"), bundle.file("golden.npz")
        data = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(data)
        with pytest.raises(BundleTamperedError):
            open_bundle(bundle.path)


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "../outside",
            "decoder/../../outside",
            "decoder/../golden.npz",
            "..",
            ".",
            "",
            "/etc/passwd",
            "//server/share",
            "./golden.npz",
            "decoder//model.onnx",
            "decoder/",
            "C:/Windows/file",
            "C:file",
            "golden.npz:stream",
            "..\\outside",
            "\\\\server\\share",
            "decoder\\model.onnx",
            "~/file",
            "-rf",
            ".hidden",
            "nul\0byte",
            "line\nbreak",
            "escape\x1b[31m",
            "ｆｕｌｌｗｉｄｔｈ",
            "a" * 200 + "/" + "é",
        ],
    )
    def test_names_that_are_no_plain_paths_inside(self, bundle: Bundle, name: str) -> None:
        entry = {"sha256": "0" * 64, "size": 1}
        edit(bundle, lambda document: document["files"].update({name: entry}))
        with pytest.raises(BundlePathError) as caught:
            open_bundle(bundle.path)
        assert repr(name) in str(caught.value)
        assert caught.value.problem.isprintable()  # nothing of it reaches a terminal unescaped

    @pytest.mark.parametrize("name", ["x" * 5000, "x/" * 3000 + "x", "CON", "decoder/model.onnx/inner"])
    def test_names_that_are_plain_and_lead_nowhere(self, bundle: Bundle, name: str) -> None:
        edit(bundle, lambda document: document["files"].update({name: {"sha256": "0" * 64, "size": 1}}))
        with pytest.raises(BundleTamperedError, match="is missing"):
            open_bundle(bundle.path)

    @pytest.mark.parametrize("inside", [True, False])
    def test_a_link_in_a_file_s_place(self, bundle: Bundle, tmp_path: Path, inside: bool) -> None:
        # The content is right, and still: what a link leads to is not the bundle's, and changes behind its back.
        elsewhere = (bundle.path if inside else tmp_path) / "elsewhere"
        bundle.file(ARTEFACT).rename(elsewhere)
        bundle.file(ARTEFACT).symlink_to(elsewhere)
        with pytest.raises(BundlePathError, match="is a link"):
            open_bundle(bundle.path)

    def test_a_linked_folder(self, bundle: Bundle, tmp_path: Path) -> None:
        shutil.move(bundle.path / "decoder", tmp_path / "decoder")
        (bundle.path / "decoder").symlink_to(tmp_path / "decoder")
        with pytest.raises(BundlePathError, match="decoder is a link"):
            open_bundle(bundle.path)

    def test_links_that_lead_nowhere_or_to_themselves(self, bundle: Bundle) -> None:
        for target in ("nowhere", "loop", "."):
            (bundle.path / "loop").symlink_to(target)
            with pytest.raises(BundlePathError, match="loop is a link"):
                open_bundle(bundle.path)
            (bundle.path / "loop").unlink()

    def test_a_linked_manifest(self, bundle: Bundle, tmp_path: Path) -> None:
        (bundle.path / MANIFEST).rename(tmp_path / MANIFEST)
        (bundle.path / MANIFEST).symlink_to(tmp_path / MANIFEST)
        with pytest.raises(BundlePathError, match="is a link"):
            open_bundle(bundle.path)

    @pytest.mark.parametrize("place", ["golden", "artefact"])
    def test_a_used_file_that_is_not_declared(self, bundle: Bundle, place: str) -> None:
        def change(document: dict[str, Any]) -> None:
            (document["golden"] if place == "golden" else document["artefacts"]["decoder"])["path"] = "../outside"

        edit(bundle, change)
        with pytest.raises(BundleSchemaError, match="not among its files"):
            open_bundle(bundle.path)


class TestManifest:
    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "not JSON"),
            (b"\xff\xfe{\x00}\x00", "not UTF-8"),
            ("{}".encode("utf-16"), "not UTF-8"),
            ("{}".encode("utf-8-sig"), "not JSON"),
            (b"\x00" * 100, "not JSON"),
            (b"[" * 100_000, "not JSON"),
            (b'{"schema_version": 2}', "pip install --upgrade edgedepth"),
            (b" " * ((16 << 20) + 1), "no manifest has that many"),
        ],
        ids=["empty", "binary", "utf-16", "bom", "zeros", "deep", "newer", "huge"],
    )
    def test_not_a_manifest(self, bundle: Bundle, data: bytes, reason: str) -> None:
        (bundle.path / MANIFEST).write_bytes(data)
        with pytest.raises(BundleSchemaError, match=reason):
            open_bundle(bundle.path)

    def test_an_edit_by_hand(self, bundle: Bundle) -> None:
        text = (bundle.path / MANIFEST).read_text()
        (bundle.path / MANIFEST).write_text(text.replace('"max_abs_rel": 0.001', '"max_abs_rel": 0.901'))
        with pytest.raises(BundleTamperedError, match=r"manifest\.json is not what was written"):
            open_bundle(bundle.path, check_hashes=False)

    @pytest.mark.parametrize("digest", [None, b"", b"0" * 64, b"\xff\xfe"])
    def test_a_missing_or_wrong_digest(self, bundle: Bundle, digest: bytes | None) -> None:
        (bundle.path / MANIFEST_DIGEST).unlink()
        if digest is not None:
            (bundle.path / MANIFEST_DIGEST).write_bytes(digest)
        with pytest.raises(BundleTamperedError, match=r"manifest\.sha256 is missing or differs"):
            open_bundle(bundle.path)

    def test_another_bundle_s_manifest(self, bundle: Bundle, tmp_path: Path) -> None:
        with write_bundle(tmp_path / "other") as writer:
            (writer.folder / "decoder").mkdir()
            (writer.folder / "patch_encoder").mkdir()
            for name in bundle.manifest.files:
                (writer.folder / name).write_bytes(b"others")
            manifest = bundle.manifest
            fields = {name: getattr(manifest, name) for name in type(manifest).__slots__}
            writer.finish(type(manifest)(**{**fields, "files": writer.file_entries()}))
        for name in (MANIFEST, MANIFEST_DIGEST):
            shutil.copy(tmp_path / "other" / name, bundle.path / name)
        with pytest.raises(BundleTamperedError):
            open_bundle(bundle.path)


class TestNotThere:
    def test_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(BundleNotFoundError, match="there is no bundle at"):
            open_bundle(tmp_path / "absent")

    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "model.onnx").touch()
        with pytest.raises(BundleNotFoundError, match="is a file; a bundle is a folder"):
            open_bundle(tmp_path / "model.onnx")
        with pytest.raises(BundleNotFoundError):
            open_bundle(tmp_path / "model.onnx" / "below")

    def test_a_folder_without_a_manifest(self, tmp_path: Path) -> None:
        with pytest.raises(BundleNotFoundError, match=r"has no manifest\.json"):
            open_bundle(tmp_path)
        (tmp_path / MANIFEST).mkdir()
        with pytest.raises(BundleNotFoundError, match=r"has no manifest\.json"):
            open_bundle(tmp_path)

    @pytest.mark.parametrize("name", ["x" * 300, "nul\0byte", "loop"])
    def test_names_that_no_file_system_takes(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(BundleError):
            open_bundle(tmp_path / name)

    def test_an_interrupted_swap_is_told_with_the_way_back(
        self, tmp_path: Path, make_bundle: Callable[..., Bundle]
    ) -> None:
        bundle = make_bundle(tmp_path / "a bundle")
        bundle.path.rename(tmp_path / ".a bundle.old")
        with pytest.raises(BundleNotFoundError, match="set aside") as caught:
            open_bundle(bundle.path)
        subprocess.run(caught.value.remedy, shell=True, check=True)
        assert open_bundle(bundle.path) == bundle


@pytest.fixture
def readable_by_nobody() -> Iterator[Path]:
    """A folder where an unprivileged user gets in (pytest's own are the owner's alone)."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Permissions bind nobody who is root; be somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", [ARTEFACT, "decoder", MANIFEST, MANIFEST_DIGEST, "."])
def test_what_can_not_be_read_is_said(readable_by_nobody: Path, make_bundle: Callable[..., Bundle], name: str) -> None:
    bundle = make_bundle(readable_by_nobody / "bundle")
    with unprivileged():
        assert open_bundle(bundle.path) == bundle
    mode = bundle.file(name).stat().st_mode
    bundle.file(name).chmod(0)
    try:
        with unprivileged(), pytest.raises(BundleError, match="can't be read: Permission denied") as caught:
            open_bundle(bundle.path)
        assert caught.value.exit_code == 2
        with unprivileged():
            assert is_bundle(bundle.path) is (name != ".")
    finally:
        bundle.file(name).chmod(mode)


class TestWriter:
    def test_a_block_without_finish_is_the_exporter_s_bug(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="did not finish"), write_bundle(tmp_path / "bundle") as writer:
            writer.stage_folder("decoder")
        assert not (tmp_path / "bundle").exists()

    def test_finish_refuses_what_could_not_be_opened(self, tmp_path: Path, fill_small: Callable[..., None]) -> None:
        def forget(writer: BundleWriter) -> None:
            (writer.folder / "later.bin").touch()

        def lose(writer: BundleWriter) -> None:
            (writer.folder / "golden.npz").unlink()

        def link(writer: BundleWriter) -> None:
            (writer.folder / "link").symlink_to("golden.npz")

        def write(spoil: Callable[[BundleWriter], None]) -> None:
            with write_bundle(tmp_path / "bundle") as writer:
                fill_small(writer)
                spoil(writer)
                writer.finish(peek_manifest(writer.folder))

        for spoil, error in ((forget, BundleTamperedError), (lose, BundleTamperedError), (link, BundlePathError)):
            with pytest.raises(error):
                write(spoil)
            assert not (tmp_path / "bundle").exists()

    def test_a_manifest_json_below_the_top_is_a_file_like_any_other(
        self, tmp_path: Path, fill_small: Callable[..., None]
    ) -> None:
        # Core ML packages hold one of their own.
        with write_bundle(tmp_path / "bundle") as writer:
            (writer.stage_folder("package") / MANIFEST).write_bytes(b"inner")
            fill_small(writer)
        assert "package/manifest.json" in open_bundle(tmp_path / "bundle").manifest.files


# --- fuzzing


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One of the small damages that happen to files."""
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.choice([1, 1, 2, 8, 100]))
    match rng.randrange(6):
        case 0 if start < len(data):
            return data[:start] + bytes([data[start] ^ 1 << rng.randrange(8)]) + data[start + 1 :]
        case 1:
            return data[:start] + data[end:]
        case 2:
            return data[:start] + rng.randbytes(end - start) + data[start:]
        case 3:
            return data[:start]
        case 4:
            return data[:end] + data[start:]
        case _:
            return data[:start] + bytes(end - start) + data[end:]


@pytest.mark.parametrize("name", [MANIFEST, MANIFEST_DIGEST, ARTEFACT])
def test_a_damaged_bundle_is_refused_or_unharmed(bundle: Bundle, name: str) -> None:
    rng = random.Random(f"damage to {name}")
    original = bundle.file(name).read_bytes()
    refused = 0
    for _ in range(400):
        data = mutated(original, rng)
        bundle.file(name).write_bytes(data)
        try:
            assert open_bundle(bundle.path) == bundle
            assert data == original
        except BundleError:
            refused += 1
    assert refused > 300


def test_a_damaged_manifest_with_a_fitting_digest_is_refused_or_understood(bundle: Bundle) -> None:
    """Past the digest, the parser alone stands guard: nothing but a BundleError may come out of it."""
    rng = random.Random("forged")
    original = (bundle.path / MANIFEST).read_bytes()
    outcomes = {"refused": 0, "opened": 0}
    for _ in range(600):
        seal(bundle.path, mutated(original, rng))
        try:
            opened = open_bundle(bundle.path)
            assert set(opened.manifest.files) == set(bundle.manifest.files)
            outcomes["opened"] += 1
        except BundleError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 20, outcomes


NASTY = [None, True, -1, 2**80, 1e308, "", "\0", "\ud800", "../x", "x" * 70_000, [], {}, [[[]]], {"": None}, ["a"] * 50]


def test_nasty_values_anywhere_in_the_manifest(bundle: Bundle) -> None:
    rng = random.Random("nasty")
    original = (bundle.path / MANIFEST).read_text()
    for _ in range(400):
        document = json.loads(original)
        node: Any = document
        while True:
            key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
            if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.8:
                node = node[key]
            else:
                break
        value = rng.choice(NASTY)
        if isinstance(node, dict) and rng.random() < 0.3:
            node[rng.choice(["", "\0", "..", "\udcff", "k" * 70_000])] = node.pop(key)
        else:
            node[key] = value
        seal(bundle.path, json.dumps(document).encode())
        with contextlib.suppress(BundleError):
            open_bundle(bundle.path)


class TestHeldStill:
    """Between the hashes and a runtime's own reading of the files."""

    def test_nothing_happened(self, bundle: Bundle) -> None:
        with open_bundle(bundle.path).held_still():
            pass

    def test_a_file_replaced_before_it_is_read(self, bundle: Bundle) -> None:
        opened = open_bundle(bundle.path)
        other = bundle.path.parent / "other"
        other.write_bytes(bytes((bundle.path / ARTEFACT).stat().st_size))
        other.replace(bundle.path / ARTEFACT)
        with pytest.raises(BundleTamperedError, match="SHA-256"), opened.held_still():
            pytest.fail("it was opened")

    def test_a_file_swapped_while_it_is_read_and_swapped_back(self, bundle: Bundle) -> None:
        opened = open_bundle(bundle.path)
        path = bundle.path / ARTEFACT
        facts, content = path.stat(), path.read_bytes()

        def while_it_is_read() -> None:
            with opened.held_still():
                path.write_bytes(bytes(len(content)))
                path.write_bytes(content)
                os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))

        with pytest.raises(BundleTamperedError, match="while it was opened"):
            while_it_is_read()

    def test_what_only_touches_a_file_is_let_pass(self, bundle: Bundle) -> None:
        opened = open_bundle(bundle.path)
        (bundle.path / ARTEFACT).touch()
        with opened.held_still():
            pass

    def test_a_file_removed(self, bundle: Bundle) -> None:
        opened = open_bundle(bundle.path)
        (bundle.path / ARTEFACT).unlink()
        with pytest.raises(BundleError, match=ARTEFACT), opened.held_still():
            pytest.fail("it was opened")
