"""Scores survive kills, cut lines and full disks, and never mix with another run's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgedepth.core.errors import OptionError, OutputError
from edgedepth.verify.baselines import Baselines
from edgedepth.verify.evaluation import ImageScore
from edgedepth.verify.score_log import SCORES, ScoreLog, check_evaluation_folder

HEADER = {"model": {"name": "mini", "sizes": (1, 2)}, "settings": {"align": "none", "limit": None}}
FITTED = Baselines(constant_m=2.5, mean_map_m=((1.0, 2.0), (3.0, 4.0)), focal_per_width=0.9)


def score(index: int) -> ImageScore:
    return ImageScore(
        name=f"picture-{index}",
        pixels=10 + index,
        focal_px=100.0,
        true_focal_px=None,
        figures={"abs_rel": index / 3},
        baselines={},
    )


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The folder of a run that kept its baselines and three scores."""
    with ScoreLog(tmp_path / "eval", HEADER, resume=False) as log:
        log.keep_baselines(FITTED)
        for index in range(3):
            log.add(score(index))
    return tmp_path / "eval"


def test_what_was_kept_comes_back(written: Path) -> None:
    with ScoreLog(written, HEADER, resume=True) as log:
        assert log.baselines == FITTED
        assert list(log.scores.values()) == [score(index) for index in range(3)]
        log.add(score(3))
    with ScoreLog(written, HEADER, resume=True) as log:
        assert list(log.scores) == [f"picture-{index}" for index in range(4)]


def test_a_file_cut_anywhere_loses_its_last_line_and_no_other(written: Path) -> None:
    content = (written / SCORES).read_bytes()
    ends = [index + 1 for index, byte in enumerate(content) if byte == ord("\n")]
    for cut in range(len(content)):
        (written / SCORES).write_bytes(content[:cut])
        whole = sum(end <= cut for end in ends)
        with ScoreLog(written, HEADER, resume=True) as log:
            assert (log.baselines is None) == (whole < 2)
            assert list(log.scores.values()) == [score(index) for index in range(max(0, whole - 2))]
            log.add(score(7))
        with ScoreLog(written, HEADER, resume=True) as log:  # what came after the cut is whole again
            assert log.scores["picture-7"] == score(7)


def test_without_resume_nothing_is_replaced(written: Path) -> None:
    before = (written / SCORES).read_bytes()
    with pytest.raises(OutputError, match="holds an evaluation already") as caught:
        ScoreLog(written, HEADER, resume=False)
    assert "--resume" in caught.value.remedy
    assert (written / SCORES).read_bytes() == before


def test_a_run_that_never_scored_is_begun_again_without_resume(tmp_path: Path) -> None:
    with ScoreLog(tmp_path, HEADER, resume=False) as log:
        log.keep_baselines(FITTED)
    with ScoreLog(tmp_path, {"settings": {"align": "median"}}, resume=False) as log:
        assert log.baselines is None
        log.add(score(0))
    with pytest.raises(OutputError, match="holds an evaluation already"):
        ScoreLog(tmp_path, HEADER, resume=False)


def test_somebody_s_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    for resume in (False, True):
        with pytest.raises(OutputError, match="holds something other than an evaluation"):
            ScoreLog(tmp_path, HEADER, resume=resume)
    with pytest.raises(OutputError, match="is not a folder"):
        ScoreLog(tmp_path / "holiday.jpg", HEADER, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_an_empty_or_absent_folder_is_begun_with_or_without_resume(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "new/folder"):
        check_evaluation_folder(tmp_path / folder, resume=False)
        ScoreLog(tmp_path / folder, HEADER, resume=folder == "empty").close()
        assert (tmp_path / folder / SCORES).is_file()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": {"align": "median", "limit": None}}, "settings align 'none'; now it is 'median'"),
        ({"settings": {"align": "none", "limit": 3}}, "settings limit None; now it is 3"),
        ({"model": {"name": "mini", "sizes": (1, 3)}}, r"model sizes \[1, 2\]; now it is \[1, 3\]"),
        ({"model": {"name": "mini", "sizes": (1, 2), "hash": "x"}}, "model hash None; now it is 'x'"),
        ({"model": {}}, "model name 'mini'; now it is None"),
    ],
)
def test_another_run_s_scores_are_refused(written: Path, change: dict[str, Any], said: str) -> None:
    before = (written / SCORES).read_bytes()
    with pytest.raises(OptionError, match=said) as caught:
        ScoreLog(written, HEADER | change, resume=True)
    assert "--out" in caught.value.remedy
    assert (written / SCORES).read_bytes() == before


@pytest.mark.parametrize(
    "line",
    [b"not json", b"[]", b"{}", b'{"score": {"name": "x"}}', b'{"header": {}}', b"\xff\xfe", b"7", b'{"a": 1, "b": 2}'],
)
def test_a_damaged_line_is_told_and_kept(written: Path, line: bytes) -> None:
    lines = (written / SCORES).read_bytes().splitlines(keepends=True)
    lines.insert(3, line + b"\n")
    (written / SCORES).write_bytes(b"".join(lines))
    with pytest.raises(OptionError, match=f"line 4 of {written / SCORES} is damaged"):
        ScoreLog(written, HEADER, resume=True)
    assert (written / SCORES).read_bytes() == b"".join(lines)


@pytest.mark.parametrize("room", [0, 30])  # bytes: none, and for the beginning of a line
def test_a_full_disk_is_told_and_loses_nothing(
    written: Path, file_size_limit: Callable[[int], None], room: int
) -> None:
    with ScoreLog(written, HEADER, resume=True) as log:
        file_size_limit((written / SCORES).stat().st_size + room)
        with pytest.raises(OutputError, match="scores before are kept") as caught:
            log.add(score(3))
        assert "--resume" in caught.value.remedy
        assert "picture-3" not in log.scores
    file_size_limit(1 << 30)
    with ScoreLog(written, HEADER, resume=True) as log:
        assert list(log.scores) == [f"picture-{index}" for index in range(3)]
        log.add(score(3))
    with ScoreLog(written, HEADER, resume=True) as log:
        assert len(log.scores) == 4


def test_a_disk_that_is_full_from_the_start(tmp_path: Path, file_size_limit: Callable[[int], None]) -> None:
    file_size_limit(10)
    with pytest.raises(OutputError, match="can't be written"):
        ScoreLog(tmp_path / "eval", HEADER, resume=False)


def test_a_place_that_cannot_be_written() -> None:
    with pytest.raises(OutputError, match="can't be written"):
        ScoreLog(Path("/proc/eval"), HEADER, resume=False)
