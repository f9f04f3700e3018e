"""The report's first words: what passed, what is fastest, and what a reader must not overlook. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from edgedepth.core.runs import Status
from edgedepth.report.cells import error_text, number_at, plain
from edgedepth.report.gathering import Row

__all__ = ["OFF_DEVICE", "Card", "cards_of", "off_device_rows", "status_counts"]

OFF_DEVICE = "verified off-device"
"""An entry's `where`, as verify writes it."""

_ORDER: tuple[Status, ...] = ("passed", "failed", "unproven", "skipped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One headline figure.

    Args:
        label: what it is.
        figure: large.
        unit: beside it.
        note: below: which entry, and in relation to what.
    """

    label: str
    figure: str
    unit: str = ""
    note: str = ""


def status_counts(rows: Sequence[Row]) -> list[tuple[Status, int]]:
    """How many entries of each status, those that there are."""
    counted = Counter(row.entry.status for row in rows)
    return [(status, counted[status]) for status in _ORDER if counted[status]]


def off_device_rows(rows: Sequence[Row]) -> list[Row]:
    """Those whose proof ran elsewhere than where they will."""
    return [row for row in rows if row.entry.where == OFF_DEVICE]


def cards_of(rows: Sequence[Row]) -> list[Card]:
    """Headlines, each only of what was measured. Only entries whose parity holds are praised."""
    judged = [row for row in rows if row.entry.status in ("passed", "failed")]
    passed = [row for row in judged if row.entry.status == "passed"]
    cards = []
    if judged:
        noun = "entry" if len(judged) == 1 else "entries"
        cards.append(
            Card(
                label="parity holds",
                figure=f"{len(passed)} of {len(judged)}",
                note=f"{noun} compared with the reference",
            )
        )
    cards += _fastest(rows, passed)
    sized = [row for row in passed if row.entry.size_bytes is not None]
    if sized:
        smallest = min(sized, key=lambda row: row.entry.size_bytes or 0)
        figure = plain((smallest.entry.size_bytes or 0) / 1e6)
        cards.append(Card(label="smallest that passed", figure=figure, unit="MB", note=smallest.name))
    errors = [
        (error, row) for row in passed if (error := number_at(row.entry.parity, "end_to_end", "abs_rel")) is not None
    ]
    if errors:
        error, worst = max(errors, key=lambda pair: pair[0])
        cards.append(Card(label="largest AbsRel that passed", figure=error_text(error), note=worst.name))
    return cards


def _fastest(rows: Sequence[Row], passed: Sequence[Row]) -> list[Card]:
    timed = [(row.entry.timing, row) for row in passed if row.entry.timing is not None]
    if not timed:
        return []
    timing, row = min(timed, key=lambda pair: pair[0].frame.p50_ms)
    note = f"{row.name}: {plain(timing.frames_per_second)} frames/s"
    peers = [
        (peer.entry.timing.frame.p50_ms / timing.frame.p50_ms, peer.name)
        for peer in rows
        if peer.entry.timing is not None and peer.entry.bundle is None and peer.sources[0] in row.sources
    ]
    if peers:
        times, name = max(peers)
        note += f", {plain(times, 2)} times as fast as {name}"
    return [Card(label="fastest that passed", figure=plain(timing.frame.p50_ms), unit="ms p50", note=note)]
