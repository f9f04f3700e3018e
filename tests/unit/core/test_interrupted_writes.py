"""Real processes, really killed: what is left is the old bundle, the new one or none, and the next write goes well."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import edgedepth
from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.errors import BundleBusyError, BundleNotFoundError

WRITER = Path(__file__).with_name("bundle_writer.py")
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")

Write = Callable[..., Bundle]


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(WRITER), *map(str, arguments)]
    # A script's own folder leads sys.path: name the package that is tested here, whatever else is installed.
    environment = {**os.environ, "PYTHONPATH": str(Path(edgedepth.__path__[0]).parent)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)


def started(*arguments: object) -> subprocess.Popen[str]:
    """Start a writer and wait until it writes."""
    process = start(*arguments)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def end(process: subprocess.Popen[str]) -> str:
    process.kill()
    return process.communicate()[1]


def surviving_number(target: Path) -> int | None:
    """The number of the bundle that stands there, the same in all of its files; None: nothing stands there."""
    try:
        bundle = open_bundle(target)
    except BundleNotFoundError:
        assert not target.exists()
        return None
    number = bundle.manifest.model.parameters
    for name in bundle.manifest.files:
        assert set(bundle.file(name).read_text().split()) == {str(number)}
    return number


def assert_swept(target: Path, make_bundle: Write) -> None:
    """The next write succeeds, and nothing but its bundle and the lock is left."""
    assert make_bundle(target).manifest.model.name == "small"
    assert {path.name for path in target.parent.iterdir()} == {target.name, f".{target.name}.lock"}


def test_killed_at_random_moments(tmp_path: Path, make_bundle: Write) -> None:
    rng = random.Random(20)
    seen = set()
    for attempt in range(20):
        target = tmp_path / str(attempt) / "bundle"
        process = started("loop", target)
        time.sleep(rng.uniform(0, 0.2))  # a write takes some ten milliseconds, most of them in fsync
        assert end(process) == ""
        seen.add(surviving_number(target))  # None only in the moment between two renames
        assert_swept(target, make_bundle)
    assert len(seen - {None}) > 1  # the kills fell at different moments


@pytest.mark.parametrize("old", [True, False], ids=["over an old bundle", "into nothing"])
def test_killed_at_every_change_to_the_file_system(tmp_path: Path, make_bundle: Write, old: bool) -> None:
    process = start("die")
    assert process.stdin is not None
    assert process.stdout is not None

    def exit_code(change: int, target: Path) -> int:
        print(change, target, file=process.stdin, flush=True)
        return int(process.stdout.readline())  # type: ignore[union-attr]

    assert exit_code(0, tmp_path / "first") == 0
    outcomes = []
    for change in range(1, 1000):
        target = tmp_path / str(change) / "bundle"
        if old:
            shutil.copytree(tmp_path / "first", target)
            # The old bundle is number 2 as well; make it tell itself from the new one by what stands beside its files.
            (target / ".DS_Store").touch()
        code = exit_code(change, target)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        number = surviving_number(target)
        outcomes.append("none" if number is None else "old" if (target / ".DS_Store").exists() else "new")
        if outcomes[-1] == "none" and old:
            with pytest.raises(BundleNotFoundError, match="set aside"):
                open_bundle(target)
        assert_swept(target, make_bundle)
        shutil.rmtree(target.parent)
    assert process.communicate() == ("", "")
    # Once the new one is there, the old one never comes back; between them lies one rename.
    before = "old" if old else "none"
    assert outcomes == sorted(outcomes, key=[before, "none", "new"].index)
    assert outcomes.count("new") >= 1
    assert outcomes.count(before) > 10
    if old:
        assert outcomes.count("none") == 1


def test_the_old_bundle_comes_back_when_the_next_write_fails_too(tmp_path: Path, make_bundle: Write) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    bundle.path.rename(tmp_path / ".bundle.old")
    with pytest.raises(BundleNotFoundError, match="set aside"):
        open_bundle(bundle.path)
    process = started("hold", bundle.path)
    assert open_bundle(bundle.path) == bundle
    end(process)
    assert open_bundle(bundle.path) == bundle
    assert_swept(bundle.path, make_bundle)


def test_two_writers_at_once(tmp_path: Path, make_bundle: Write) -> None:
    target = tmp_path / "bundle"
    process = started("hold", target)
    before = time.monotonic()
    for same in (target, tmp_path / "x" / ".." / "bundle"):
        with pytest.raises(BundleBusyError, match="another process is writing"):
            make_bundle(same)
    assert time.monotonic() - before < 5  # it doesn't wait for the other
    make_bundle(tmp_path / "neighbour")
    _, errors = process.communicate("go on\n")
    assert (process.returncode, errors) == (0, "")
    assert surviving_number(target) == 1
    make_bundle(target)


def test_a_killed_writer_leaves_no_lock(tmp_path: Path, make_bundle: Write) -> None:
    process = started("hold", tmp_path / "bundle")
    end(process)
    assert_swept(tmp_path / "bundle", make_bundle)
