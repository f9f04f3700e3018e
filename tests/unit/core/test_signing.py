"""Signatures: what a fleet trusts, and what it refuses."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgedepth.core.bundle import MANIFEST, Bundle, manifest_bytes, open_bundle
from edgedepth.core.errors import BundleTamperedError, OptionError, OutputError, SignatureError
from edgedepth.core.signing import SIGNATURE, check_signature, new_key, sign

# The key, signature and file of minisign's own documentation: an independent maker of all three.
DOCUMENTED_KEY = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"
DOCUMENTED_SIGNATURE = (
    b"untrusted comment: signature from minisign secret key\n"
    b"RWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaVWuNrm73YiIiJbq71Wi+dP9eKL8OC351vwIasSSbXxwA=\n"
    b"trusted comment: timestamp:1555779966\tfile:test\n"
    b"QtKMXWyYcwdpZAlPF7tE2ENJkRd1ujvKjlj1m9RtHTBnZPa5WKU5uWRs5GoP5M/VqE81QFuMKI5k/SfNQUaOAA==\n"
)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.key"
    new_key(path, password=None)
    return path


@pytest.fixture
def bundle(make_bundle: Callable[..., Bundle], tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "bundle")


def signed(bundle: Bundle, key: Path, password: str | None = None) -> Path:
    return sign(bundle.path, manifest_bytes(bundle.path), key, password=password, comment="small")


def test_minisigns_own_example(tmp_path: Path) -> None:
    (tmp_path / SIGNATURE).write_bytes(DOCUMENTED_SIGNATURE)
    assert check_signature(tmp_path, b"test", DOCUMENTED_KEY) == "timestamp:1555779966\tfile:test"
    with pytest.raises(SignatureError, match="another key, or changed"):
        check_signature(tmp_path, b"tesT", DOCUMENTED_KEY)


def test_a_signed_bundle_opens_with_its_key(bundle: Bundle, key: Path) -> None:
    signed(bundle, key)
    public = key.with_name("fleet.key.pub")
    for trusted in (str(public), public.read_text().splitlines()[1]):
        assert open_bundle(bundle.path, trusted_key=trusted) == bundle
    assert open_bundle(bundle.path) == bundle


def test_an_unsigned_one_does_not(bundle: Bundle, key: Path) -> None:
    with pytest.raises(SignatureError, match="is not signed"):
        open_bundle(bundle.path, trusted_key=str(key.with_name("fleet.key.pub")))


def test_another_owners_does_not(bundle: Bundle, key: Path, tmp_path: Path) -> None:
    signed(bundle, key)
    other = new_key(tmp_path / "other", password=None)
    with pytest.raises(SignatureError, match="another key"):
        open_bundle(bundle.path, trusted_key=str(other))


def test_a_manifest_sealed_anew_does_not(
    bundle: Bundle, key: Path, make_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    path = signed(bundle, key)
    other = make_bundle(tmp_path / "other", created_utc="2026-01-01T00:00:00Z")
    shutil.copy(path, other.path)
    assert open_bundle(other.path) == other  # whole by its own seal
    with pytest.raises(SignatureError, match="changed since"):
        open_bundle(other.path, trusted_key=str(key.with_name("fleet.key.pub")))


def test_a_file_changed_after_signing_does_not(bundle: Bundle, key: Path) -> None:
    signed(bundle, key)
    data = bytearray((bundle.path / "golden.npz").read_bytes())
    data[0] ^= 1
    (bundle.path / "golden.npz").write_bytes(data)
    with pytest.raises(BundleTamperedError, match="SHA-256"):
        open_bundle(bundle.path, trusted_key=str(key.with_name("fleet.key.pub")))


@pytest.mark.parametrize("content", [b"", b"\0" * 10, b"a\nb\nc\nd\n", DOCUMENTED_SIGNATURE[:100], b"x" * (1 << 20)])
def test_a_damaged_signature(bundle: Bundle, key: Path, content: bytes) -> None:
    (bundle.path / SIGNATURE).write_bytes(content)
    with pytest.raises(SignatureError, match="not a minisign signature"):
        open_bundle(bundle.path, trusted_key=str(key.with_name("fleet.key.pub")))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_for_a_signature_does_not_hang(bundle: Bundle, key: Path) -> None:
    os.mkfifo(bundle.path / SIGNATURE)
    with pytest.raises(SignatureError, match="not a plain file"):
        open_bundle(bundle.path, trusted_key=str(key.with_name("fleet.key.pub")))


@pytest.mark.parametrize("trusted", ["RWnothing", "no-such-file", ""])
def test_a_key_that_is_none(bundle: Bundle, key: Path, trusted: str) -> None:
    signed(bundle, key)
    with pytest.raises(OptionError, match=r"trusted key|minisign public key"):
        open_bundle(bundle.path, trusted_key=trusted)


class TestSecretKeys:
    def test_only_their_owner_reads_them(self, key: Path) -> None:
        if os.name == "posix":
            assert stat.S_IMODE(key.stat().st_mode) == 0o600

    def test_what_stands_there_stays(self, key: Path) -> None:
        before = key.read_bytes()
        with pytest.raises(OutputError):
            new_key(key, password=None)
        assert key.read_bytes() == before

    def test_a_password(self, bundle: Bundle, tmp_path: Path) -> None:
        key = tmp_path / "locked"
        public = new_key(key, password="right")
        with pytest.raises(OptionError, match="has a password"):
            signed(bundle, key)
        with pytest.raises(OptionError, match="wrong password"):
            signed(bundle, key, "wrong")
        signed(bundle, key, "right")
        open_bundle(bundle.path, trusted_key=str(public))

    def test_a_file_that_is_none(self, bundle: Bundle, tmp_path: Path) -> None:
        with pytest.raises(OptionError, match="can't be read"):
            signed(bundle, tmp_path / "absent")
        with pytest.raises(OptionError, match="can't sign"):
            signed(bundle, bundle.path / MANIFEST)


@pytest.mark.skipif(shutil.which("minisign") is None, reason="the minisign program is not installed")
def test_the_minisign_program_agrees(bundle: Bundle, key: Path) -> None:
    signed(bundle, key)
    command = ["minisign", "-V", "-m", str(bundle.path / MANIFEST), "-p", str(key.with_name("fleet.key.pub"))]
    assert subprocess.run(command, check=False).returncode == 0
