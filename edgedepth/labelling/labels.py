"""What is known of each frame that was labelled, and the files that keep it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from edgedepth.core.errors import OptionError
from edgedepth.core.files import flush_folder, write_file
from edgedepth.core.journal import Journal
from edgedepth.core.optional import is_installed, require
from edgedepth.core.plain import from_plain, to_plain
from edgedepth.labelling.frames import FrameRef

__all__ = ["INDEX", "JOURNAL", "SUMMARY", "Label", "LabelLog", "LabelSummary", "Status", "summed_up", "write_index"]

JOURNAL, INDEX, SUMMARY = "labels.jsonl", "labels.parquet", "summary.json"

_ROW_GROUP = 20_000  # rows

Status = Literal["labelled", "duplicate", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One frame's row.

    Args:
        name: of the frame: its file, and where in it.
        path: of its file.
        place: where in the file, -1 for a picture.
        member: of a tar shard, else "".
        version: of the file, as it was listed.
        status: "duplicate": a frame with the same content has the label.
        sha256: of the content; "" where it couldn't be read.
        file: the depth, relative to the output folder; "" where there is none.
        entry: of a file that several frames share: the depth's name in it; else "".
        width, height: of frame and depth in pixels.
        focal_px: that the metres rest on.
        focal_source: where it came from, in words.
        fov_deg: the horizontal field of view.
        beyond: the share of pixels that the file can't hold (16 bits end at 65.535 m).
        read_ms: reading and decoding took.
        depth_ms: the model took.
        write_ms: encoding and writing took; of a shared file, its part.
        worker: who did it.
        error: why it failed, and the class of the error in front.
    """

    name: str
    path: str
    place: int
    member: str
    version: str
    status: Status
    sha256: str = ""
    file: str = ""
    entry: str = ""
    width: int = 0
    height: int = 0
    focal_px: float | None = None
    focal_source: str = ""
    fov_deg: float | None = None
    beyond: float = 0.0
    read_ms: float = 0.0
    depth_ms: float = 0.0
    write_ms: float = 0.0
    worker: str = ""
    error: str = ""

    @property
    def ref(self) -> FrameRef:
        """The frame that it is of."""
        return FrameRef(self.path, self.place, self.member, self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSummary:
    """A run, counted.

    Args:
        frames: listed.
        labelled: with a file of their own.
        duplicates: whose content another frame has.
        failed: left out.
        already: of these three, done by an earlier run.
        reasons: of failures: how often each class of error, with one example.
        seconds: this run took.
        workers: of this run.
    """

    frames: int
    labelled: int
    duplicates: int
    failed: int
    already: int
    reasons: dict[str, str]
    seconds: float
    workers: int


class LabelLog:
    """The labels so far, on disk as they come.

    Args:
        folder: that they lie in.
        header: model, bundle and options: labels of different ones don't mix.

    Raises:
        OptionError: the folder holds labels of something else.
        OutputError: it can't be written.
    """

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        path = folder / JOURNAL
        _refuse_others(path, header)
        self._journal = Journal(path, header)
        labels = [from_plain(Label, entry, where=JOURNAL) for entry in self._journal.entries]
        self.labels: dict[FrameRef, Label] = {label.ref: label for label in labels}
        self._first: dict[str, Label] = {}
        for label in labels:
            if label.status == "labelled":
                self._first.setdefault(label.sha256, label)

    def forget(self, refs: Iterable[FrameRef]) -> None:
        """Take out what is to be done again; its old rows stay in the journal, and newer ones count."""
        for ref in refs:
            label = self.labels.pop(ref)
            if self._first.get(label.sha256) == label:
                del self._first[label.sha256]

    def add(self, label: Label) -> Label | None:
        """Keep a label, once: a frame may come back from two machines, and two frames may have one content.

        Args:
            label: status "duplicate" says no more than that the depth of such a content lies there.

        Returns:
            What is known of the frame now. None: that depth has no row, since whoever wrote it was killed.
        """
        if label.ref in self.labels:
            return self.labels[label.ref]
        if label.status != "failed":
            first = self._first.get(label.sha256)
            if first is None and label.status == "duplicate":
                return None
            if first is None:
                self._first[label.sha256] = label
            elif _place(first) != _place(label):
                label = _duplicate(label, first)
            elif label.status == "duplicate":  # of its own, from before the file's time changed
                label = replace(first, version=label.version)
        self._journal.add(to_plain(label))
        self.labels[label.ref] = label
        return label

    def rows(self) -> list[Label]:
        """The index: each frame once as it was last, each content labelled once, by name."""
        first: dict[str, Label] = {}

        def settled(label: Label) -> Label:
            if label.status == "failed":
                return label
            known = first.setdefault(label.sha256, label)
            if known is not label:
                return _duplicate(label, known)
            return label if label.status == "labelled" else replace(label, status="labelled")

        latest = {_place(label): label for label in self.labels.values()}
        return sorted(map(settled, latest.values()), key=lambda row: row.name)

    def close(self) -> None:
        """Close the file."""
        self._journal.close()


def summed_up(refs: Sequence[FrameRef], log: LabelLog, *, already: int, seconds: float, workers: int) -> LabelSummary:
    """Count the labels of these frames."""
    rows = {row.ref: row for row in log.rows()}
    labels = [rows[ref] for ref in refs if ref in rows]
    counts = Counter(label.status for label in labels)
    failures = [label for label in labels if label.status == "failed"]
    kinds = Counter(label.error.partition(":")[0] for label in failures)
    examples = {label.error.partition(":")[0]: label for label in reversed(failures)}
    return LabelSummary(
        frames=len(refs),
        labelled=counts["labelled"],
        duplicates=counts["duplicate"],
        failed=counts["failed"],
        already=already,
        reasons={kind: f"{count} times, first {examples[kind].error}" for kind, count in kinds.most_common()},
        seconds=seconds,
        workers=workers,
    )


def write_index(folder: Path, log: LabelLog, header: dict[str, Any], summary: LabelSummary) -> None:
    """Write summary.json and, with pyarrow, labels.parquet; each whole or not at all.

    Raises:
        OutputError: they can't be written.
    """
    if is_installed("pyarrow"):
        arrow = require("pyarrow", extra="label", purpose="for the index")
        parquet = require("pyarrow.parquet", extra="label", purpose="for the index")
        schema = _schema(arrow).with_metadata({key: json.dumps(value) for key, value in header.items()})
        sink, rows = arrow.BufferOutputStream(), log.rows()
        with parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
            for at in range(0, len(rows), _ROW_GROUP):  # as dicts, all of them would take four times their memory
                plain = [_utf8(to_plain(row)) for row in rows[at : at + _ROW_GROUP]]
                writer.write_table(arrow.Table.from_pylist(plain, schema=schema))
        write_file(folder / INDEX, sink.getvalue().to_pybytes(), durable=True)
    text = json.dumps({**header, **to_plain(summary)}, indent=2, ensure_ascii=False)
    write_file(folder / SUMMARY, text.encode("utf-8", "backslashreplace"), durable=True)
    flush_folder(folder)


def _utf8(row: dict[str, Any]) -> dict[str, Any]:
    """A row in which file names that are no UTF-8 are as readable as can be."""
    return {
        name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for name, value in row.items()
    }


_OF_THE_CONTENT = ("file", "entry", "width", "height", "focal_px", "focal_source", "fov_deg", "beyond")


def _place(label: Label) -> tuple[str, int, str]:
    """Of the frame, whichever version its file has."""
    return (label.path, label.place, label.member)


def _duplicate(label: Label, first: Label) -> Label:
    told = {name: getattr(first, name) for name in _OF_THE_CONTENT}
    return replace(label, status="duplicate", **told)


def _schema(arrow: Any) -> Any:
    kinds = {"str": arrow.string(), "int": arrow.int64(), "float": arrow.float32(), "Status": arrow.string()}
    return arrow.schema([(field.name, kinds[str(field.type).partition(" ")[0]]) for field in fields(Label)])


def _refuse_others(path: Path, header: dict[str, Any]) -> None:
    """A journal of other work is begun anew by Journal; labels of hours must not go that way."""
    try:
        with path.open("rb") as file:
            first = json.loads(file.readline() or b"{}").get("header")
    except FileNotFoundError:
        return
    except (OSError, ValueError, AttributeError):
        first = None
    if first is not None and first != json.loads(json.dumps(header)):
        differing = [key for key in header if first.get(key) != json.loads(json.dumps(header[key]))]
        raise OptionError(
            f"{path.parent} holds labels made with other settings: {', '.join(differing) or 'of another version'}",
            remedy="choose another folder with --out, or the settings of before",
        )
