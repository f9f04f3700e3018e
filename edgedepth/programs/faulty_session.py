"""Faults on purpose: a session that fails, hangs, dawdles or gives NaN at the run that it was told to.

What a control loop has to survive is tried with it, around fake sessions or real ones.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import StageError
from edgedepth.core.forwarding import ForwardingSession
from edgedepth.core.session import Array, OpenStage, Session

__all__ = ["Fault", "FaultySession", "FaultyStages"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong.

    Args:
        stage: whose run.
        run: which of the stage's runs, from 0 on, counted over all its sessions.
        kind: "fail" raises StageError, "crash" a RuntimeError, "hang" waits until release() is called, "slow" waits
            for `seconds` first, "nan" gives NaN.
        seconds: of "slow".
    """

    stage: str
    run: int
    kind: Literal["fail", "crash", "hang", "slow", "nan"]
    seconds: float = 0.0


class FaultyStages:
    """An OpenStage around another one, with faults.

    Args:
        open_stage: opens the real stages.
        faults: what goes wrong, and when.

    `opened` counts the sessions by stage, `closed` likewise, `runs` the runs.
    """

    def __init__(self, open_stage: OpenStage, *faults: Fault) -> None:
        self.opened: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()
        self.released = threading.Event()
        self._open_stage = open_stage
        self._faults = {(fault.stage, fault.run): fault for fault in faults}

    def __call__(self, stage: str, /) -> FaultySession:
        """Open a stage."""
        self.opened[stage] += 1
        return FaultySession(self._open_stage(stage), stage, self)

    def release(self) -> None:
        """Let everything that hangs come back."""
        self.released.set()

    def next_fault(self, stage: str) -> Fault | None:
        """Count a run, and tell what goes wrong with it."""
        self.runs[stage] += 1
        return self._faults.get((stage, self.runs[stage] - 1))


class FaultySession(ForwardingSession):
    """A session of FaultyStages."""

    def __init__(self, session: Session, stage: str, stages: FaultyStages) -> None:
        super().__init__(session)
        self._stage = stage
        self._stages = stages

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """As of Session, but for the faults."""
        fault = self._stages.next_fault(self._stage)
        if fault is None:
            return super().run(feeds, out)
        if fault.kind == "fail":
            raise StageError(f"{self._stage} failed on purpose", remedy="take the fault out")
        if fault.kind == "crash":
            raise RuntimeError(f"{self._stage} crashed on purpose")
        if fault.kind == "hang":
            self._stages.released.wait()
        if fault.kind == "slow":
            time.sleep(fault.seconds)
        outputs = super().run(feeds, out)
        if fault.kind == "nan":
            for array in outputs.values():
                array[...] = np.nan
        return outputs

    def close(self) -> None:
        """As of Session."""
        self._stages.closed[self._stage] += 1
        super().close()
