"""Every row of the table gives its error, quickly, and without much memory."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgedepth.core.signing import SIGNATURE

from .openers import OPENERS
from .rejected import CASES, Case

SLACK = 600 << 20
"""Bytes that refusing may cost at its dearest: a golden frame may have 512 MB, and a liar is told from its header."""

MEASURE = """
import resource, sys
from pathlib import Path
from edgedepth.core.errors import EdgeDepthError
from tests.untrusted.openers import OPENERS
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for kind, path in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        OPENERS[kind](Path(path))
    except EdgeDepthError:
        continue
    raise SystemExit(f"{path} was taken")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}: {case.name}")
@pytest.mark.timeout(60)
def test_refused(case: Case, tmp_path: Path) -> None:
    path = tmp_path / (SIGNATURE if case.kind == "signature" else "it")
    case.make(path)
    with pytest.raises(case.error, match=case.says) as caught:
        OPENERS[case.kind](path)
    assert caught.value.remedy
    assert not (tmp_path / "it-ran").exists(), "what it holds was run"


def test_there_are_many() -> None:
    names = [(case.kind, case.name) for case in CASES]
    assert len(names) >= 60


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is in kilobytes on Linux alone")
def test_a_declared_size_is_not_allocated(tmp_path: Path) -> None:
    words = []
    for number, case in enumerate(case for case in CASES if re.search("10 GB|2\\^70|bomb|longer than", case.name)):
        path = tmp_path / f"{number}" / (SIGNATURE if case.kind == "signature" else "it")
        path.parent.mkdir()
        case.make(path)
        words += [case.kind, str(path)]
    assert len(words) >= 2 * 8
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *words],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= SLACK
