"""scores.jsonl: an evaluation's scores as they come, so that a killed run loses nothing and can go on.

The first line tells what is evaluated; then the fitted baselines, and one line a picture. A line that was cut short by
a kill or a full disk is dropped when the file is opened again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NoReturn

from edgedepth.core.errors import EdgeDepthError, OptionError, OutputError
from edgedepth.core.journal import append_entry
from edgedepth.core.plain import from_plain, to_plain
from edgedepth.verify.baselines import Baselines
from edgedepth.verify.evaluation import ImageScore

__all__ = ["SCORES", "ScoreLog", "check_evaluation_folder"]

SCORES = "scores.jsonl"

Header = Mapping[str, Mapping[str, Any]]


class ScoreLog:
    """The open file. What it held already is in `baselines` and `scores`.

    Args:
        folder: of the evaluation; made if it isn't there.
        header: what is evaluated and how, as JSON's plain values in groups; a run goes on only where it is the same.
        resume: go on with what is there.

    Raises:
        OutputError: the folder holds scores and `resume` wasn't asked for, isn't an evaluation's, or can't be written.
        OptionError: what is there was made of something else, or is damaged.
    """

    def __init__(self, folder: Path, header: Header, *, resume: bool) -> None:
        self.path = folder / SCORES
        self.baselines: Baselines | None = None
        self.scores: dict[str, ImageScore] = {}
        check_evaluation_folder(folder, resume=resume)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Unbuffered: each line is with the system when add() returns.
            self._file: BinaryIO = self.path.open("ab", buffering=0)
            lines, kept = _whole_lines(self.path.read_bytes()) if resume else ([], 0)
            self._file.truncate(kept)
        except OSError as error:
            _refuse_write(self.path, error.strerror or str(error), error)
        try:
            if lines:
                self._read(lines, header)
            else:
                self._write({"header": header})
        except BaseException:
            self._file.close()
            raise

    def keep_baselines(self, baselines: Baselines) -> None:
        """Keep what the first pass fitted."""
        self.baselines = baselines
        self._write({"baselines": to_plain(baselines)})

    def add(self, score: ImageScore) -> None:
        """Keep one picture's score.

        Raises:
            OutputError: it can't be written: a full disk. What was kept before stays.
        """
        self._write({"score": to_plain(score)})
        self.scores[score.name] = score

    def close(self) -> None:
        """Close the file. Closing twice is fine."""
        self._file.close()

    def __enter__(self) -> ScoreLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, entry: Mapping[str, Any]) -> None:
        try:
            append_entry(self._file, entry)
        except OSError as error:
            _refuse_write(self.path, error.strerror or str(error), error)

    def _read(self, lines: list[bytes], header: Header) -> None:
        for number, line in enumerate(lines, start=1):
            try:
                ((kind, content),) = json.loads(line).items()
                if (kind == "header") != (number == 1):
                    raise ValueError("the header is the first line and no other")
                if kind == "header":
                    _check_same(self.path, content, header)
                elif kind == "baselines":
                    self.baselines = from_plain(Baselines, content, where="baselines")
                else:
                    score = from_plain(ImageScore, content, where="score")
                    self.scores[score.name] = score
            except EdgeDepthError:
                raise
            except (ValueError, AttributeError, TypeError) as error:
                raise OptionError(
                    f"line {number} of {self.path} is damaged: {error}",
                    remedy="delete that line, or choose another folder with --out",
                ) from error


def check_evaluation_folder(folder: Path, *, resume: bool) -> None:
    """Raise what ScoreLog would raise for the folder alone: before a model is loaded for it.

    Raises:
        OutputError: something stands there that won't be written into.
    """
    try:
        if not folder.exists():
            return
        if not folder.is_dir():
            raise OutputError(f"{folder} is not a folder; a folder is meant", remedy="choose another with --out")
        held = {path.name for path in folder.iterdir()}
        if not held or (held == {SCORES} and not _has_scores(folder / SCORES)):
            return
        ours = (folder / SCORES).is_file()
    except OSError as error:
        raise OutputError(
            f"{folder} can't be read: {error.strerror or error}", remedy="choose another folder with --out"
        ) from error
    if not ours:
        raise OutputError(
            f"{folder} holds something other than an evaluation, and won't be written into",
            remedy="choose an empty or new folder with --out",
        )
    if not resume:
        raise OutputError(
            f"{folder} holds an evaluation already, and won't be replaced",
            remedy="--resume goes on with it; or choose another folder with --out",
        )


def _whole_lines(content: bytes) -> tuple[list[bytes], int]:
    """The lines that end, and the bytes that they take: what a killed run wrote last may be cut short."""
    kept = content.rfind(b"\n") + 1
    return content[:kept].splitlines(), kept


def _has_scores(path: Path) -> bool:
    """Whether a run got as far as its first score; if it didn't, there is nothing in its file to lose."""
    return any(line.startswith(b'{"score"') for line in _whole_lines(path.read_bytes())[0])


def _check_same(path: Path, found: Mapping[str, Any], meant: Header) -> None:
    """Refuse to mix scores of two different things, and name the first thing that differs."""
    meant = json.loads(json.dumps(meant))  # tuples become lists, as in the file
    for group in dict.fromkeys([*meant, *found]):
        before, now = found.get(group) or {}, meant.get(group) or {}
        for name in dict.fromkeys([*now, *before]):
            if before.get(name) != now.get(name):
                raise OptionError(
                    f"{path} was made with {group} {name} {before.get(name)!r}; now it is {now.get(name)!r}, and "
                    "figures of the two don't mix",
                    remedy="give the same data set, bundle and options as then, or choose another folder with --out",
                )


def _refuse_write(path: Path, reason: str, cause: OSError) -> NoReturn:
    raise OutputError(
        f"{path} can't be written: {reason}; the scores before are kept",
        remedy="free space, then run the same command with --resume",
    ) from cause
