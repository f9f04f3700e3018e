"""How long the rest takes."""

from __future__ import annotations

import pytest

from edgedepth.cli.console import TimeLeft


@pytest.mark.parametrize(
    ("seconds", "done", "words"),
    [
        (0, 40, ""),  # the first that was told: no pace yet
        (10, 50, ", 50 s left"),  # ten in ten seconds, fifty more
        (60, 42, ", 29 min left"),
        (3600, 41, ", 59.0 h left"),
        (90, 100, ""),
    ],
)
def test_the_time_left_is_by_this_run_s_pace(seconds: float, done: int, words: str) -> None:
    now = [1000.0]
    left = TimeLeft(lambda: now[0])
    left.words(40, 100)  # what an earlier run did took no time of this one's
    now[0] += seconds
    assert left.words(done, 100) == words
