"""Downloads, against a real HTTP server on loopback. Nothing here talks to another host."""

import contextlib
import hashlib
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest

from edgedepth.core.errors import DownloadError, OutputError
from edgedepth.models.download import download_file, partial_path
from edgedepth.models.registry import WeightsSource

FILE = "model.safetensors"
REMEDY = "do without a network"
CHUNK = 10 << 20
"""huggingface_hub writes in chunks of 10 MiB; at a cut it loses what it has of the last one."""


def fetch(source: WeightsSource, target: Path) -> None:
    download_file(source, target, announce=lambda text: None, remedy=REMEDY)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "weights" / FILE


def test_the_file_comes_whole_and_once(hub, target: Path) -> None:
    fetch(hub.source(), target)
    assert target.read_bytes() == hub.content
    assert hub.ranges == [None]
    assert sorted(path.name for path in target.parent.iterdir()) in ([FILE], [f".{FILE}.lock", FILE])


def test_the_licence_is_told_before_the_first_request(hub, target: Path) -> None:
    told: list[str] = []

    def announce(text: str) -> None:
        assert hub.requests == []
        told.append(text)

    download_file(hub.source(), target, announce=announce, remedy=REMEDY)
    assert len(told) == 1
    for fact in ("Some licence", hub.source().licence_url, "0.04 GB", f"{hub.url}/{hub.source().repo}"):
        assert fact in told[0]


def test_a_cut_is_mended_within_the_call_from_where_it_was(hub, target: Path) -> None:
    hub.cut_at = 2 * CHUNK + 12345
    fetch(hub.source(), target)
    assert target.read_bytes() == hub.content
    assert hub.ranges == [None, f"bytes={2 * CHUNK}-"]
    assert hub.body_bytes == len(hub.content) + 12345


def test_a_later_call_continues_where_an_earlier_one_failed(hub, target: Path) -> None:
    hub.cut_at, hub.refuse_after_cut = CHUNK + 1, 503
    with pytest.raises(DownloadError, match=f"503; {CHUNK} bytes are here"):
        fetch(hub.source(), target)
    assert not target.exists()
    assert partial_path(target).stat().st_size == CHUNK
    hub.refuse_with = None
    fetch(hub.source(), target)
    assert target.read_bytes() == hub.content
    assert hub.ranges == [None, f"bytes={CHUNK}-"]


def test_a_killed_process_leaves_nothing_under_the_name_and_is_continued(hub, target: Path) -> None:
    hub.pause_s = 0.02
    source = hub.source()
    code = (
        "from pathlib import Path; from edgedepth.models.download import download_file; "
        "from edgedepth.models.registry import WeightsSource; "
        f"download_file({source!r}, Path({str(target)!r}), announce=print, remedy='')"
    )
    child = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"HF_HUB_DISABLE_TELEMETRY": "1"})
    while hub.body_bytes < 2 * CHUNK and child.poll() is None:
        time.sleep(0.01)
    child.kill()
    child.wait()
    assert not target.exists()
    kept = partial_path(target).stat().st_size
    assert CHUNK <= kept < len(hub.content)
    hub.pause_s = 0.0
    fetch(source, target)
    assert target.read_bytes() == hub.content
    assert hub.ranges[-1] == f"bytes={kept}-"


def test_a_server_without_ranges_sends_it_all_again_and_the_file_is_right(hub, target: Path) -> None:
    target.parent.mkdir()
    partial_path(target).write_bytes(hub.content[:CHUNK])
    hub.knows_ranges = False
    fetch(hub.source(), target)
    assert target.read_bytes() == hub.content


def test_a_partial_file_that_is_complete_is_only_checked(hub, target: Path) -> None:
    target.parent.mkdir()
    partial_path(target).write_bytes(hub.content)
    fetch(hub.source(), target)
    assert target.read_bytes() == hub.content
    assert hub.body_bytes == 0


def test_nothing_has_the_name_while_it_comes(hub, target: Path) -> None:
    seen: list[bool] = []
    hub.while_sending = lambda: seen.append(target.exists())
    fetch(hub.source(), target)
    assert len(seen) > 10
    assert not any(seen)


def test_a_wrong_hash_is_refused_and_removed(hub, target: Path) -> None:
    source = hub.source()
    hub.content = b"\1" + hub.content[1:]
    with pytest.raises(DownloadError) as caught:
        fetch(source, target)
    assert hashlib.sha256(hub.content).hexdigest() in caught.value.problem
    assert source.sha256 in caught.value.problem
    assert not target.exists()
    assert not partial_path(target).exists()


def test_a_poisoned_partial_file_is_refused_and_the_next_call_starts_anew(hub, target: Path) -> None:
    target.parent.mkdir()
    partial_path(target).write_bytes(b"\1" * CHUNK)
    with pytest.raises(DownloadError, match="sha256"):
        fetch(hub.source(), target)
    fetch(hub.source(), target)
    assert target.read_bytes() == hub.content


def test_an_older_file_stays_until_the_new_one_is_proven(hub, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"older")
    source = hub.source()
    hub.refuse_with = 500
    with pytest.raises(DownloadError):
        fetch(source, target)
    assert target.read_bytes() == b"older"
    hub.refuse_with = None
    fetch(source, target)
    assert target.read_bytes() == hub.content


def test_another_size_is_refused_before_a_byte_is_fetched(hub, target: Path) -> None:
    with pytest.raises(DownloadError, match="instead of 77"):
        fetch(hub.source(size=77), target)
    assert hub.ranges == []


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_refusal_is_one_line_with_the_remedy(hub, target: Path, status: int) -> None:
    hub.refuse_with = status
    with pytest.raises(DownloadError, match=f"the server answers {status}") as caught:
        fetch(hub.source(), target)
    assert caught.value.remedy == REMEDY
    assert "\n" not in str(caught.value)
    assert not target.exists()


def test_a_refused_connection_fails_in_seconds(hub, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    begin = time.monotonic()
    with pytest.raises(DownloadError, match="refused") as caught:
        fetch(hub.source(), target)
    # A refusal comes at once; the library's own patience, six tries, would take more than 5 s.
    assert time.monotonic() - begin < 4
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["1", "true", "ON"])
def test_offline_mode_asks_nobody(hub, target: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE"):
        fetch(hub.source(), target)
    assert hub.requests == []


def test_two_at_once_do_not_mix_their_bytes(hub, target: Path) -> None:
    target.parent.mkdir()
    with (
        filelock.FileLock(target.with_name(f".{FILE}.lock")),
        pytest.raises(DownloadError, match="another process"),
    ):
        fetch(hub.source(), target)
    assert hub.requests == []


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_as_such_and_the_download_goes_on_when_there_is_space(hub, target: Path) -> None:
    with largest_file(CHUNK + 5), pytest.raises(OutputError, match="can't be written") as caught:
        fetch(hub.source(), target)
    assert "EDGEDEPTH_HOME" in caught.value.remedy
    assert not target.exists()
    fetch(hub.source(), target)
    assert target.read_bytes() == hub.content


def test_a_file_where_the_folder_should_be(hub, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("in the way")
    with pytest.raises(OutputError, match="can't be written"):
        fetch(hub.source(), tmp_path / "weights" / FILE)
