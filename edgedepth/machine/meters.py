"""Meters of energy: joules so far, from whatever the machine tells.

A meter sees the whole package or board, and what idles on it too. Of what runs one after the other each gets its part.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from edgedepth.machine.energy_counters import ina_power_w, rapl_joules
from edgedepth.machine.nvidia_smi import read_gpu_states
from edgedepth.machine.powermetrics import SAMPLERS, parse_powermetrics
from edgedepth.machine.tegrastats import parse_tegrastats

__all__ = ["Meter", "Meters", "PollMeter", "RaplMeter", "StreamMeter", "open_meters"]

INTERVAL_S = 0.1


class Meter(Protocol):
    """Something that counts energy."""

    name: str

    def joules(self) -> float:
        """Since the meter was opened."""
        ...

    def close(self) -> None:
        """Stop counting. Closing twice is fine."""
        ...


class RaplMeter:
    """The counters of an Intel or AMD processor, which begin anew at the end of their range.

    Args:
        read: rapl_joules, or another function of its form.
    """

    name = "RAPL"

    def __init__(self, read: Callable[[], dict[str, tuple[float, float]]] = rapl_joules) -> None:
        self._read = read
        self._last = read()
        self._sum = 0.0

    def joules(self) -> float:
        """See Meter. A counter that went round more than once between two calls is not noticed: that takes minutes."""
        now = self._read()
        for name, (counted, whole) in now.items():
            before = self._last.get(name, (counted, whole))[0]
            self._sum += counted - before + (whole if counted < before else 0.0)
        self._last = now
        return self._sum

    def close(self) -> None:
        """See Meter."""


class _Integral:
    """Energy of a power that is told now and then: each value holds until the next one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sum = 0.0
        self._watts: float | None = None
        self._since = 0.0

    def add(self, watts: float) -> None:
        with self._lock:
            self._advance()
            self._watts = watts

    def joules(self) -> float:
        with self._lock:
            self._advance()
            return self._sum

    def _advance(self) -> None:
        now = time.perf_counter()
        if self._watts is not None:
            self._sum += self._watts * (now - self._since)
        self._since = now


class PollMeter:
    """A sensor of power that is read every tenth of a second.

    Args:
        name: of the source.
        read: watts now; None for a reading that failed.
    """

    def __init__(self, name: str, read: Callable[[], float | None]) -> None:
        self.name = name
        self._integral = _Integral()
        self._read = read
        self._stopped = threading.Event()
        self._poll()
        self._thread = threading.Thread(target=self._run, name=f"edgedepth-{name}", daemon=True)
        self._thread.start()

    def joules(self) -> float:
        """See Meter."""
        return self._integral.joules()

    def close(self) -> None:
        """See Meter."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(INTERVAL_S):
            self._poll()

    def _poll(self) -> None:
        if (watts := self._read()) is not None:
            self._integral.add(watts)


class StreamMeter:
    """A program that prints the power again and again.

    Args:
        name: of the source.
        words: the program and its arguments.
        parse: watts of a line; None for a line that tells none.

    Raises:
        OSError: it can't be started.
    """

    def __init__(self, name: str, words: list[str], parse: Callable[[str], float | None]) -> None:
        self.name = name
        self._integral = _Integral()
        self._parse = parse
        self._process = subprocess.Popen(  # noqa: S603 (fixed programs, and no shell)
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True
        )
        self._thread = threading.Thread(target=self._run, name=f"edgedepth-{name}", daemon=True)
        self._thread.start()

    def joules(self) -> float:
        """See Meter."""
        return self._integral.joules()

    def close(self) -> None:
        """See Meter."""
        self._process.terminate()
        self._process.wait()
        self._thread.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _run(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):  # closed meanwhile
            for line in self._process.stdout:
                if (watts := self._parse(line)) is not None:
                    self._integral.add(watts)


class Meters:
    """All that this machine has, added up.

    Args:
        meters: of parts that don't overlap.
    """

    def __init__(self, *meters: Meter) -> None:
        self._meters = meters

    @property
    def names(self) -> str:
        """The sources, "RAPL + nvidia-smi"; "" without any."""
        return " + ".join(meter.name for meter in self._meters)

    def joules(self) -> float | None:
        """So far; None where nothing tells energy."""
        return sum(meter.joules() for meter in self._meters) if self._meters else None

    def __enter__(self) -> Meters:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for meter in self._meters:
            meter.close()


def open_meters() -> Meters:
    """A meter of the host, or of the whole module, and one of the GPUs beside it."""
    host = _host_meter()
    whole_module = host is not None and host.name in ("INA3221", "tegrastats")
    gpu = None if whole_module else _gpu_meter()
    return Meters(*(meter for meter in (host, gpu) if meter is not None))


def _host_meter() -> Meter | None:
    if rapl_joules():
        return RaplMeter()
    if ina_power_w() is not None:
        return PollMeter("INA3221", ina_power_w)
    interval = str(round(1e3 * INTERVAL_S))
    if path := shutil.which("tegrastats"):
        return _streaming("tegrastats", [path, "--interval", interval], _tegrastats_w)
    path = shutil.which("powermetrics")
    if path and sys.platform == "darwin" and os.geteuid() == 0:
        return _streaming("powermetrics", [path, "-i", interval, "--samplers", SAMPLERS], _powermetrics_w)
    return None


def _gpu_meter() -> Meter | None:
    path = shutil.which("nvidia-smi")
    if path is None or not any(state.power_w is not None for state in read_gpu_states()):
        return None
    query = ["--query-gpu=power.draw", "--format=csv,noheader,nounits", f"-lms={round(1e3 * INTERVAL_S)}", "-i=0"]
    return _streaming("nvidia-smi", [path, *query], _watts)


def _streaming(name: str, words: list[str], parse: Callable[[str], float | None]) -> Meter | None:
    try:
        return StreamMeter(name, words, parse)
    except OSError:
        return None


def _tegrastats_w(line: str) -> float | None:
    total = parse_tegrastats(line).total_mw
    return None if total is None else total / 1e3


def _powermetrics_w(line: str) -> float | None:
    if not line.startswith(("Combined Power", "Intel energy model")):
        return None
    total = parse_powermetrics(line).total_mw
    return None if total is None else total / 1e3


def _watts(line: str) -> float | None:
    try:
        return float(line)
    except ValueError:
        return None
