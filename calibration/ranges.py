"""The ranges of activations over recorded inputs: streamed, bounded in memory, resumable, the same for the same bytes.

onnxruntime runs the stage with the wanted activations as extra outputs, and its HistogramCollector finds the entropy
and percentile thresholds. Its own calibrators keep every activation of every frame until the end, so they aren't used.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from edgedepth.calibration.blocks import load_graph
from edgedepth.calibration.recording import Recording
from edgedepth.core.errors import QuantizationError
from edgedepth.core.optional import require
from edgedepth.core.progress import Progress, silent
from edgedepth.core.session import Array

__all__ = ["GROUP_BYTES", "METHODS", "Method", "Range", "channel_peaks", "collect_ranges", "tensor_bytes"]

Method = Literal["minmax", "mean", "entropy", "percentile"]
METHODS: tuple[Method, ...] = ("minmax", "mean", "entropy", "percentile")

Range = tuple[float, float]
"""Lowest and highest value."""

GROUP_BYTES = 2 << 30
"""Of activations that leave a stage at once; a stage with more of them runs once for each group. All that goes into the
linear layers of depth-pro's patch encoder, on 5 tiles, is 1.98 GB."""

# onnxruntime's own defaults for these methods (quantization/calibrate.py), but for the percentile's bins: with 2048,
# 99.99 % of a tensor with outliers falls into a few of them.
_BINS = {"entropy": 128, "percentile": 2048}
_QUANTIZED_BINS = 128
_PERCENTILE = 99.99
_PROGRAM_ERRORS = "check the weights; edgedepth verify tells whether the fp32 bundle is right"


class _Collector(Protocol):
    """Adds up what is seen of tensors, and can be put down and taken up again."""

    def add(self, name: str, values: Array) -> None: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


def collect_ranges(
    source: Path,
    tensors: Sequence[str],
    recording: Recording,
    stage: str,
    *,
    method: Method,
    state: Path,
    progress: Progress = silent,
) -> dict[str, Range]:
    """The range that each activation shall be quantised over.

    Args:
        source: the stage's fp32 .onnx; its folder is written to.
        tensors: names of activations.
        recording: the stage's inputs.
        stage: its name.
        method: "minmax": all that was seen; "mean": the mean of each call's largest magnitude;
            "entropy": the threshold with the least KL divergence; "percentile": 99.99 % of the magnitudes.
        state: a file that keeps what was collected, frame by frame, for an interrupted run.
        progress: told of each frame.

    Raises:
        QuantizationError: an activation isn't finite; it is named.
    """
    simple: dict[str, Callable[[], _MinMax | _Mean]] = {"minmax": _MinMax, "mean": _Mean}
    collector = simple[method]() if method in simple else _Histograms(method)
    _collect(source, tensors, recording, stage, collector=collector, state=state, progress=progress)
    return collector.ranges()


def channel_peaks(
    source: Path,
    tensors: Sequence[str],
    recording: Recording,
    stage: str,
    *,
    state: Path,
    progress: Progress = silent,
) -> dict[str, Array]:
    """The largest magnitude of each channel (the last axis) of activations; arguments and errors as collect_ranges.

    Returns:
        (channels,) float32 by tensor.
    """
    collector = _ChannelPeaks()
    _collect(source, tensors, recording, stage, collector=collector, state=state, progress=progress)
    return collector.peaks


def tensor_bytes(source: Path) -> dict[str, int]:
    """The size of every tensor of a stage in float32."""
    graph = load_graph(source).graph
    return {
        value.name: 4 * int(np.prod([size.dim_value for size in value.type.tensor_type.shape.dim]))
        for value in (*graph.input, *graph.value_info)
    }


class _MinMax:
    """Lowest and highest value ever seen."""

    def __init__(self) -> None:
        self._seen: dict[str, Array] = {}

    def add(self, name: str, values: Array) -> None:
        seen = np.array([values.min(), values.max()], np.float32)
        before = self._seen.get(name, seen)
        self._seen[name] = np.array([min(before[0], seen[0]), max(before[1], seen[1])], np.float32)

    def state(self) -> dict[str, Any]:
        return dict(self._seen)

    def restore(self, state: Mapping[str, Any]) -> None:
        self._seen = dict(state)

    def ranges(self) -> dict[str, Range]:
        return {name: (float(low), float(high)) for name, (low, high) in self._seen.items()}


class _Mean:
    """The mean over calls of the largest magnitude."""

    def __init__(self) -> None:
        self._sums: dict[str, npt.NDArray[np.float64]] = {}  # of the magnitudes, of calls

    def add(self, name: str, values: Array) -> None:
        largest = max(-values.min(), values.max())
        self._sums[name] = self._sums.get(name, np.zeros(2)) + np.array([largest, 1], np.float64)

    def state(self) -> dict[str, Any]:
        return dict(self._sums)

    def restore(self, state: Mapping[str, Any]) -> None:
        self._sums = dict(state)

    def ranges(self) -> dict[str, Range]:
        means = {name: float(total / calls) for name, (total, calls) in self._sums.items()}
        return {name: (-mean, mean) for name, mean in means.items()}


class _Histograms:
    """onnxruntime's histograms and thresholds."""

    def __init__(self, method: Method) -> None:
        calibrate = require("onnxruntime.quantization.calibrate", extra="int8", purpose="to calibrate")
        self._method = method
        self._collector: Any = calibrate.HistogramCollector(
            method=method,
            symmetric=True,
            num_bins=_BINS[method],
            num_quantized_bins=_QUANTIZED_BINS,
            percentile=_PERCENTILE,
            scenario="same",
        )

    def add(self, name: str, values: Array) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # it tells of its progress with print
            self._collector.collect({name: values})

    def state(self) -> dict[str, Any]:
        parts = self._collector.histogram_dict.items()
        return {f"{index}:{name}": part for name, tuple_ in parts for index, part in enumerate(tuple_)}

    def restore(self, state: Mapping[str, Any]) -> None:
        parts: dict[str, list[Any]] = {}
        for key, value in state.items():
            parts.setdefault(key.partition(":")[2], []).append(value)
        # Scalars come back as arrays of no axis; the collector compares and adds them alike.
        self._collector.histogram_dict = {name: tuple(values) for name, values in parts.items()}

    def ranges(self) -> dict[str, Range]:
        if not self._collector.histogram_dict:
            return {}
        with contextlib.redirect_stdout(io.StringIO()):
            found = self._collector.compute_collection_result()
        return {name: (float(limits[0]), float(limits[1])) for name, limits in found.items()}


class _ChannelPeaks:
    """The largest magnitude of each channel."""

    def __init__(self) -> None:
        self.peaks: dict[str, Array] = {}

    def add(self, name: str, values: Array) -> None:
        peaks = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
        self.peaks[name] = np.maximum(self.peaks.get(name, peaks), peaks)

    def state(self) -> dict[str, Any]:
        return dict(self.peaks)

    def restore(self, state: Mapping[str, Any]) -> None:
        self.peaks = dict(state)


def _collect(
    source: Path,
    tensors: Sequence[str],
    recording: Recording,
    stage: str,
    *,
    collector: _Collector,
    state: Path,
    progress: Progress,
) -> None:
    """Show a collector every tensor of every recorded call. The state is saved after each frame of each group."""
    if not tensors:
        return
    done = _restore(collector, state)
    steps = [
        (group, frame)
        for group in _groups(list(dict.fromkeys(tensors)), tensor_bytes(source))
        for frame in recording.frames
    ]
    session: Any = None
    opened: tuple[str, ...] = ()
    for number, (group, frame) in enumerate(steps):
        progress(f"ranges of {stage}, frame {frame + 1}", number, len(steps))
        if number < done:
            continue
        if opened != group:
            session, opened = _open_with_outputs(source, group), group
        for path in recording.only([frame]).calls(stage):
            feeds = Recording.load_feeds(path)
            fed = [name for name in group if name in feeds]
            wanted = [name for name in group if name not in feeds]
            values = session.run(wanted, feeds) if wanted else []
            for name, array in zip((*wanted, *fed), (*values, *(feeds[name] for name in fed)), strict=True):
                _check_finite(array, name, stage, frame)
                collector.add(name, array)
        _save(collector, state, number + 1)


def _groups(tensors: Sequence[str], sizes: Mapping[str, int]) -> Iterator[tuple[str, ...]]:
    group: list[str] = []
    total = 0
    for name in tensors:
        if group and total + sizes[name] > GROUP_BYTES:
            yield tuple(group)
            group, total = [], 0
        group.append(name)
        total += sizes[name]
    if group:
        yield tuple(group)


def _open_with_outputs(source: Path, tensors: Iterable[str]) -> Any:
    """The stage with more outputs; its weights are mapped from where they are."""
    onnx = require("onnx", extra="int8", purpose="to quantise")
    ort = require("onnxruntime", extra="int8", purpose="to calibrate")
    model = load_graph(source)
    values = {value.name: value for value in model.graph.value_info}
    declared = {value.name for value in (*model.graph.output, *model.graph.input)}
    model.graph.output.extend(values[name] for name in tensors if name not in declared)
    path = source.with_name(f"{source.stem}-observed.onnx")
    onnx.save(model, str(path))
    options = ort.SessionOptions()
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    finally:
        path.unlink()


def _check_finite(values: Array, name: str, stage: str, frame: int) -> None:
    if not np.isfinite(values.sum(dtype=np.float64)) and not np.isfinite(values).all():
        raise QuantizationError(
            f"stage {stage}: activation {name} is not finite on frame {frame + 1} of the calibration set, at fp32 "
            "already; nothing can be calibrated on that",
            remedy=_PROGRAM_ERRORS,
        )


def _save(collector: _Collector, path: Path, done: int) -> None:
    temporary = path.with_suffix(".new.npz")
    np.savez(temporary, _done=done, **collector.state())
    temporary.replace(path)


def _restore(collector: _Collector, path: Path) -> int:
    """How many steps lie behind."""
    if not path.is_file():
        return 0
    with np.load(path) as archive:
        collector.restore({name: archive[name] for name in archive.files if name != "_done"})
        return int(archive["_done"])
