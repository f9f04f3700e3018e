"""Crews: each item once, whoever dies."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgedepth.core.errors import DeviceError, OptionError, StageError
from edgedepth.crew import Crew, CrewOptions, Lost, open_crew

from .crews import Counter, Deadly, doubled, refused, unopened

CREWS = [
    pytest.param(CrewOptions(), id="here"),
    pytest.param(CrewOptions(workers=2, threads=1), id="processes"),
    # Slow: half a minute of Ray's own processes.
    pytest.param(CrewOptions(engine="ray", threads=1), id="ray", marks=pytest.mark.slow),
]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers' processes import crews.py by the name that pytest gave it."""
    folder = Path(__file__).resolve().parents[1]
    monkeypatch.syspath_prepend(folder)  # what spawned processes begin with; Ray's have the variable
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture(params=CREWS)
def crew(request: pytest.FixtureRequest) -> Iterator[Crew[Counter]]:
    """A crew of counters."""
    with open_crew(Counter, options_of(request)) as opened:
        yield opened


def options_of(request: pytest.FixtureRequest) -> CrewOptions:
    options: CrewOptions = request.param
    if options.engine == "ray":
        pytest.importorskip("ray", reason="Ray (the extra ray) makes the cluster")
    return options


@pytest.mark.filterwarnings("ignore")  # Ray's own: sockets and files left open
def test_each_item_once_in_several_rounds(crew: Crew[Counter]) -> None:
    for count in (20, 0, 7):
        outcomes = list(crew.map(doubled, range(count)))
        assert sorted(item for item, _ in outcomes) == list(range(count))
        assert all(not isinstance(outcome, Lost) and outcome[0] == 2 * item for item, outcome in outcomes)


@pytest.mark.filterwarnings("ignore")
def test_an_error_of_ours_comes_through_and_ends_the_round(crew: Crew[Counter]) -> None:
    with pytest.raises(StageError, match="the backend broke") as caught:
        list(crew.map(refused, range(6)))
    assert caught.value.remedy == "open it anew"
    assert len(list(crew.map(doubled, range(3)))) == 3  # the crew is still there


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", CREWS)
def test_a_worker_that_does_not_open_ends_the_round(options: CrewOptions) -> None:
    if options.engine == "ray":
        pytest.importorskip("ray", reason="Ray (the extra ray) makes the cluster")
    with open_crew(unopened, options) as crew, pytest.raises(OptionError, match="the model is broken"):
        list(crew.map(doubled, range(3)))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", CREWS[1:])
@pytest.mark.parametrize("once", [True, False], ids=["a lost machine", "a deadly item"])
def test_whoever_dies_each_other_item_is_done(options: CrewOptions, once: bool, tmp_path: Path) -> None:
    if options.engine == "ray":
        pytest.importorskip("ray", reason="Ray (the extra ray) makes the cluster")
    work = Deadly(5, tmp_path / "died" if once else None)
    with open_crew(Counter, options) as crew:
        outcomes: dict[int, Any] = dict(crew.map(work, range(12)))
    assert outcomes.pop(5) == (5 if once else Lost())
    assert outcomes == {item: item for item in range(12) if item != 5}


def test_workers_that_never_live_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", sys.path[1:])  # so that they can't import what they are to do
    with (
        open_crew(Counter, CrewOptions(workers=2)) as crew,
        pytest.raises(StageError, match="no worker stays alive"),
    ):
        list(crew.map(doubled, range(9)))


def test_cores_are_shared_out() -> None:
    with open_crew(Counter, CrewOptions(workers=2)) as crew:
        [(_, outcome)] = crew.map(doubled, [1])
    assert not isinstance(outcome, Lost)
    assert outcome[1] == max(1, (os.cpu_count() or 1) // 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"engine": "spark"}, "engine is 'spark'"),
        ({"address": "auto"}, "Ray"),
        ({"gpus": 1.0}, "Ray"),
        ({"engine": "ray", "gpus": -1.0}, "gpus is -1"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        CrewOptions(**options)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_cluster_that_is_not_there(address: str) -> None:
    pytest.importorskip("ray", reason="Ray (the extra ray) looks for the cluster")
    with (
        pytest.raises(DeviceError, match="no Ray cluster"),
        open_crew(Counter, CrewOptions(engine="ray", address=address)),
    ):
        pass


@pytest.mark.slow  # Ray's own processes have to be started
@pytest.mark.filterwarnings("ignore")
def test_what_no_machine_has_is_refused_not_waited_for() -> None:
    pytest.importorskip("ray", reason="Ray (the extra ray) makes the cluster")
    with (
        pytest.raises(OptionError, match="reserve 1000 CPUs"),
        open_crew(Counter, CrewOptions(engine="ray", threads=1000)),
    ):
        pass
