"""Which figures stand in the report's tables. What they mean is said in each column's head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgedepth.core.runs import Timing
from edgedepth.report.cells import Column, Table, number_at, table_of
from edgedepth.report.gathering import Row

__all__ = ["accuracy_table", "overview_table", "quality_tables", "speed_table", "stage_error_table"]

_STAGE_ORDER = (
    "metric_depth",
    "relative_depth",
    "text_encoder",
    "scale_shift",
    "patch_encoder",
    "image_encoder",
    "decoder",
    "fov",
)
_ABS_REL_HELP = "mean of |d − r| / r, r the reference's depth; the worst picture"
_EDGES_HELP = "how far occluding edges agree with the reference's own; 1 is wholly"
_SHAPES_HELP = "1 - correlation of inverse depths within the worst of 8 x 8 cells"
_P50_HELP = "median of the timed frames, from picture to metres"


def overview_table(rows: Sequence[Row]) -> Table:
    """What decides between entries."""
    return table_of(
        [
            Column(
                label="AbsRel", unit="vs reference", help=_ABS_REL_HELP,
                values=_parity(rows, "abs_rel"), errors=True,
            ),
            Column(
                label="boundary F1", unit="vs reference", help=_EDGES_HELP,
                values=_parity(rows, "boundary_f1"), digits=4,
            ),
            Column(label="p50", unit="ms", help=_P50_HELP, values=_timing(rows, lambda t: t.frame.p50_ms), bar=True),
            Column(
                label="rate", unit="frames/s", help="one frame after the other, at the median",
                values=_timing(rows, lambda t: t.frames_per_second),
            ),
            Column(
                label="peak memory", unit="MB", help="resident memory of the process that ran this entry alone",
                values=_timing(rows, lambda t: _scaled(t.peak_rss_bytes, 1e-6)), digits=0,
            ),
            Column(
                label="size", unit="MB", help="of the bundle on disk", bar=True,
                values=[_scaled(row.entry.size_bytes, 1e-6) for row in rows],
            ),
        ],
        range(len(rows)),
    )  # fmt: skip


def accuracy_table(rows: Sequence[Row]) -> Table | None:
    """End to end against the reference; None where nothing was compared."""
    numbers, kept = _kept(rows, lambda row: row.entry.parity is not None)
    if not kept:
        return None
    return table_of(
        [
            Column(label="AbsRel", help=_ABS_REL_HELP, values=_parity(kept, "abs_rel"), errors=True),
            Column(
                label="allowed", unit="AbsRel", help="the tolerance of this precision", errors=True,
                values=[number_at(row.entry.parity, "tolerance", "abs_rel") for row in kept],
            ),
            Column(label="max rel", help="worst pixel, on inverse depth", values=_parity(kept, "max_rel"), errors=True),
            Column(
                label="δ1.25", help="share of pixels with max(d/r, r/d) < 1.25",
                values=_parity(kept, "delta1"), digits=6,
            ),
            Column(label="lost structure", help=_SHAPES_HELP, values=_parity(kept, "lost_structure"), errors=True),
            Column(label="boundary F1", help=_EDGES_HELP, values=_parity(kept, "boundary_f1"), digits=4),
            Column(
                label="FOV error", unit="°", help="between the fields of view",
                values=_parity(kept, "fov_deg"), errors=True,
            ),
            Column(
                label="scale", help="by least squares; 1.02: all is 2 % too far, as a wrong focal length makes it",
                values=_parity(kept, "depth_scale"), digits=5,
            ),
            Column(
                label="shift", unit="1/m", help="by least squares, on inverse depth",
                values=_parity(kept, "inverse_shift"), errors=True,
            ),
            Column(label="correlation", help="of inverse depths", values=_parity(kept, "correlation"), digits=6),
            Column(
                label="pictures", help="that were compared",
                values=[number_at(row.entry.parity, "images") for row in kept], digits=0,
            ),
        ],
        numbers,
    )  # fmt: skip


def stage_error_table(rows: Sequence[Row]) -> Table | None:
    """Mean and largest error of each stage on the reference's own inputs; None where no stage was compared."""
    numbers, kept = _kept(rows, lambda row: bool(_stages(row)))
    found = dict.fromkeys(name for row in kept for name in _stages(row))
    names = [*(name for name in _STAGE_ORDER if name in found), *(name for name in found if name not in _STAGE_ORDER)]
    columns = [
        Column(
            label=name, unit=unit, help=told, errors=True,
            values=[number_at(row.entry.parity, "stages", name, figure) for row in kept],
        )
        for name in names
        for figure, unit, told in (
            ("max_rel", "max rel", "largest error over the largest value, on the reference's own inputs"),
            ("mean_rel", "mean rel", "mean error over the mean size, on the reference's own inputs"),
        )
    ]  # fmt: skip
    return table_of(columns, numbers) if kept else None


def speed_table(rows: Sequence[Row]) -> Table | None:
    """All that was timed; None where nothing was."""
    numbers, kept = _kept(rows, lambda row: row.entry.timing is not None)
    if not kept:
        return None
    columns: list[Column] = []

    def add(label: str, unit: str, told: str, value: Callable[[Timing], float | None], **look: Any) -> None:
        columns.append(Column(label=label, unit=unit, help=told, values=_timing(kept, value), **look))

    add("p50", "ms", _P50_HELP, lambda t: t.frame.p50_ms)
    add("p90", "ms", "nine frames in ten are faster", lambda t: t.frame.p90_ms)
    add("p99", "ms", "99 frames in a hundred are faster", lambda t: t.frame.p99_ms)
    add("mean", "ms", "of the timed frames", lambda t: t.frame.mean_ms)
    add("frames", "", "that were timed", lambda t: len(t.samples_ms), digits=0)
    add("rate", "frames/s", "one after the other, at the median", lambda t: t.frames_per_second)
    add("load", "ms", "until the first frame could be given", lambda t: t.load_ms, digits=0)
    add("first frame", "ms", "after loading", lambda t: t.first_frame_ms)
    add("peak memory", "MB", "resident, of this entry's process", lambda t: _scaled(t.peak_rss_bytes, 1e-6), digits=0)
    add("device memory", "MB", "peak, of the accelerator", lambda t: _scaled(t.peak_device_bytes, 1e-6), digits=0)
    add("CPU", "% of a core", "200 is two busy cores", lambda t: t.cpu_percent, digits=0)
    add("energy", "J/frame", "as the machine's sensors tell it", lambda t: t.energy_j)
    add("work", "GFLOP", "a frame, of the network's own arithmetic", lambda t: _scaled(t.flops, 1e-9))
    add("reached", "GFLOP/s", "at the median", lambda t: _scaled(t.flops and t.flops * t.frames_per_second, 1e-9))
    add("of the ceiling", "%", "of the best rate of matrix products in this precision, measured in the same run",
        lambda t: _scaled(t.ceiling_fraction, 100))  # fmt: skip
    return table_of(columns, numbers)


def quality_tables(rows: Sequence[Row]) -> list[tuple[int, Table, list[str]]]:
    """Against ground truth, a table an entry: row number, table, and the figures' names, one a line of it."""
    found = []
    for number, row in enumerate(rows):
        quality = row.entry.quality
        names = [name for name in _mapping(quality, "candidate") if number_at(quality, "candidate", name) is not None]
        if not names:
            continue
        columns = [
            Column(label="candidate", values=[number_at(quality, "candidate", name) for name in names], digits=4),
            Column(label="reference", values=[number_at(quality, "reference", name) for name in names], digits=4),
            *(
                Column(
                    label=label, help="candidate minus reference, paired bootstrap over the pictures",
                    values=[number_at(quality, "intervals", name, key) for name in names], digits=4,
                )
                for label, key in (("difference", "difference"), ("from", "low"), ("to", "high"))
            ),
        ]  # fmt: skip
        found.append((number, table_of(columns, range(len(names))), names))
    return found


def _kept(rows: Sequence[Row], wanted: Callable[[Row], bool]) -> tuple[list[int], list[Row]]:
    numbers = [number for number, row in enumerate(rows) if wanted(row)]
    return numbers, [rows[number] for number in numbers]


def _parity(rows: Sequence[Row], figure: str) -> list[float | None]:
    return [number_at(row.entry.parity, "end_to_end", figure) for row in rows]


def _timing(rows: Sequence[Row], value: Callable[[Timing], float | None]) -> list[float | None]:
    return [None if row.entry.timing is None else value(row.entry.timing) for row in rows]


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _stages(row: Row) -> Mapping[str, Any]:
    return _mapping(row.entry.parity, "stages")


def _mapping(data: Mapping[str, Any] | None, key: str) -> Mapping[str, Any]:
    value = (data or {}).get(key)
    return value if isinstance(value, Mapping) else {}
