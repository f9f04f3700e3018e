"""Where weights come from: the caller's file, the store, a download, or a seed."""

import dataclasses
import logging
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedepth.core.errors import DownloadError, OptionError, WeightsError
from edgedepth.core.hashing import sha256_file
from edgedepth.models.registry import ModelEntry, ShippedWeights, model_entry
from edgedepth.models.weights import cached_path, find_weights, random_seed, shipped_path, weights_state


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEDEPTH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "weights"


@pytest.fixture
def entry(hub) -> ModelEntry:
    """Depth Pro, published on the hub on loopback."""
    return dataclasses.replace(model_entry("depth-pro"), weights=hub.source())


def find(entry: ModelEntry, weights: str | Path | None = None, *, download: bool = True) -> Path:
    return find_weights(entry, weights, download=download, announce=lambda text: None)


def test_a_download_lands_in_the_store_and_is_not_repeated(hub, entry: ModelEntry, store: Path) -> None:
    assert weights_state(entry) == "not here"
    path = find(entry)
    assert path == store / "depth-pro" / hub.source().sha256[:12] / "model.safetensors"
    assert path.read_bytes() == hub.content
    assert weights_state(entry) == "here"

    hub.requests.clear()
    assert find(entry) == path
    assert find(entry, download=False) == path
    assert hub.requests == []


def test_what_is_here_needs_no_network_and_no_licence_twice(hub, entry: ModelEntry) -> None:
    told: list[str] = []
    find_weights(entry, None, download=True, announce=told.append)
    hub.refuse_with = 500
    find_weights(entry, None, download=True, announce=told.append)
    assert len(told) == 1


def test_half_a_download_is_partial(hub, entry: ModelEntry) -> None:
    hub.cut_at, hub.refuse_after_cut = 20 << 20, 503
    with pytest.raises(DownloadError):
        find(entry)
    assert weights_state(entry) == "partial"
    with pytest.raises(WeightsError, match="are partial"):
        find(entry, download=False)


def test_a_cut_off_file_in_the_store_is_noticed_and_fetched_again(
    hub, entry: ModelEntry, caplog: pytest.LogCaptureFixture
) -> None:
    path = find(entry)
    path.write_bytes(hub.content[:-1])
    assert weights_state(entry) == "damaged"
    with pytest.raises(WeightsError, match="are damaged"):
        find(entry, download=False)
    with caplog.at_level(logging.WARNING, logger="edgedepth"):
        find(entry)
    assert "downloaded again" in caplog.text
    assert path.read_bytes() == hub.content


def test_new_weights_do_not_pass_for_old_ones(hub, entry: ModelEntry) -> None:
    old = find(entry)
    hub.content = hub.content[::-1]
    newer = dataclasses.replace(entry, weights=hub.source())
    assert weights_state(newer) == "not here"
    assert find(newer) != old
    assert old.exists()


def test_the_callers_file_wins_and_asks_nobody(hub, entry: ModelEntry, tmp_path: Path) -> None:
    mine = tmp_path / "mine.pt"
    mine.write_bytes(b"anything")
    assert find(entry, mine) == mine
    assert find(entry, str(mine)) == mine
    assert hub.requests == []


def test_a_path_to_nothing(entry: ModelEntry, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        find(entry, tmp_path / "nothing.pt")


def test_without_a_network_the_error_names_what_works(hub, entry: ModelEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError) as caught:
        find(entry)
    for way_out in (hub.source().licence_url, "--weights PATH", "--model depth-pro-mini"):
        assert way_out in caught.value.remedy
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_downloading_switched_off(entry: ModelEntry) -> None:
    with pytest.raises(WeightsError, match="switched off") as caught:
        find(entry, download=False)
    assert not isinstance(caught.value, DownloadError)
    assert "--weights PATH" in caught.value.remedy


def test_shipped_weights_are_in_the_package_and_ask_nobody(store: Path) -> None:
    mini = model_entry("depth-pro-mini")
    assert isinstance(mini.weights, ShippedWeights)
    assert weights_state(mini) == "in the package"
    path = find(mini, download=False)
    assert path == shipped_path(mini.weights)
    assert path.stat().st_size == mini.weights.size
    assert sha256_file(path) == mini.weights.sha256
    assert not store.exists()


def test_a_package_that_was_not_installed_whole() -> None:
    entry = dataclasses.replace(
        model_entry("depth-pro-mini"), weights=ShippedWeights(file="shipped/nothing.safetensors", sha256="0", size=1)
    )
    with pytest.raises(WeightsError, match="not whole") as caught:
        find(entry)
    assert "install edgedepth again" in caught.value.remedy


def test_random_weights_are_asked_for() -> None:
    assert random_seed(None) is None
    assert random_seed("random:7") == 7
    assert random_seed("some.pt") is None
    assert random_seed(Path("random:7")) is None


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_every_seed_that_torch_takes(seed: int) -> None:
    assert random_seed(f"random:{seed}") == seed


@pytest.mark.parametrize("bad", ["", "x", "-1", "1.5", " 1", "1_000", "٣", str(2**63), "9" * 5000])
def test_a_bad_seed(bad: str) -> None:
    with pytest.raises(OptionError, match="integer from 0") as caught:
        random_seed(f"random:{bad}")
    assert "random:0" in caught.value.remedy


def test_the_store_may_be_moved_as_a_whole(
    hub, entry: ModelEntry, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(entry)
    shutil.move(store.parent, tmp_path / "elsewhere")
    monkeypatch.setenv("EDGEDEPTH_HOME", str(tmp_path / "elsewhere"))
    assert weights_state(entry) == "here"
    assert cached_path(entry.name, hub.source()).is_relative_to(tmp_path / "elsewhere")
