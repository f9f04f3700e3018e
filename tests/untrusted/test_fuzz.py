"""Damaged files are taken or refused with an error of ours; nothing else comes out of a parser."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgedepth.core.errors import EdgeDepthError

from .damage import TARGETS, damaged
from .openers import OPENERS


@pytest.mark.parametrize("name", TARGETS)
def test_no_other_error(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.sampled_from(target.whole).flatmap(damaged))
    def run(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(EdgeDepthError):
            OPENERS[target.kind](target.place(Path(folder), content))

    run()


@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"signature"}))
def test_the_undamaged_ones_are_taken(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    for number, content in enumerate(target.whole):
        folder = tmp_path / str(number)
        folder.mkdir()
        OPENERS[target.kind](target.place(folder, content))
