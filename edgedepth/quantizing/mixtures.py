"""Mixtures of precisions as programs that can be run and measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgedepth.calibration.blocks import Block
from edgedepth.calibration.budget import Figures
from edgedepth.calibration.recording import Recording
from edgedepth.core.manifest import Manifest
from edgedepth.core.session import Session
from edgedepth.core.spec import Precision
from edgedepth.programs.canonical import CanonicalProgram
from edgedepth.programs.stages import StagePool
from edgedepth.quantizing.figures import measure_figures
from edgedepth.quantizing.makers import Fp32Stage, Maker
from edgedepth.quantizing.memo import MemoSession
from edgedepth.quantizing.running import program_over, resident_for
from edgedepth.quantizing.workspace import Workspace

__all__ = ["Mixer"]


class Mixer:
    """Makes, runs and measures mixtures.

    Args:
        manifest: of the fp32 bundle.
        stages: the fp32 stages.
        maker: of the target's artefacts.
        workspace: for artefacts and remembered answers.
        calls: how often a frame runs each stage.
    """

    def __init__(
        self,
        manifest: Manifest,
        stages: Mapping[str, Fp32Stage],
        maker: Maker,
        workspace: Workspace,
        calls: Mapping[str, int],
    ) -> None:
        self.blocks: tuple[Block, ...] = tuple(block for stage in stages.values() for block in stage.blocks)
        self._manifest = manifest
        self._stages = stages
        self._maker = maker
        self._workspace = workspace
        self._calls = calls
        self._made: dict[str, tuple[frozenset[str], Path]] = {}
        self.stand_in = maker.stand_in

    def artefact(self, stage: str, kept: Collection[str]) -> Path:
        """A stage's artefact; the one of the mixture before is replaced."""
        inside = self._inside(stage, kept)
        made, path = self._made.get(stage, (None, Path()))
        if made != inside:
            path = self._maker.make(stage, inside, self._workspace.empty(f"mixture/{stage}"))
            self._made[stage] = (inside, path)
        return path

    def folder(self, stage: str) -> Path:
        """Where artefact() puts it: a folder that holds the artefact's files and nothing else."""
        return self._workspace.folder / "mixture" / stage

    def peaks(self, stage: str, kept: Collection[str]) -> dict[str, float]:
        """As Maker.peaks, of a mixture."""
        return self._maker.peaks(stage, self._inside(stage, kept))

    @contextmanager
    def program(self, kept: Collection[str], *, remember: bool = False) -> Iterator[CanonicalProgram]:
        """The program of a mixture.

        Args:
            kept: names of the blocks that stay in high precision.
            remember: look up what stages gave before, where all or none of their blocks are kept.
        """

        def open_stage(stage: str) -> Session:
            if not remember:
                return self._maker.open(stage, self.artefact(stage, kept))
            folder = self._memory(stage, kept)
            return MemoSession(
                self._stages[stage].spec, lambda: self._maker.open(stage, self.artefact(stage, kept)), folder
            )

        with StagePool(open_stage, resident=resident_for(self._manifest)) as pool:
            yield program_over(self._manifest, pool)

    @contextmanager
    def plain(self, precision: Precision) -> Iterator[CanonicalProgram]:
        """The program of the same stages at another precision.

        Raises:
            UnsupportedError: this processor doesn't compute in it.
        """

        def open_stage(stage: str) -> Session:
            if stage not in paths:
                paths[stage] = self._maker.make_plain(
                    stage, precision, self._workspace.empty(f"plain-{precision}/{stage}")
                )
            return self._maker.open(stage, paths[stage], precision)

        paths: dict[str, Path] = {}
        with StagePool(open_stage, resident=resident_for(self._manifest)) as pool:
            pool.session(next(iter(self._stages)))
            yield program_over(self._manifest, pool)

    def measure(
        self,
        kept: Collection[str],
        frame: Callable[[int], npt.NDArray[np.uint8]],
        answers: Recording,
        frames: Sequence[int],
    ) -> Figures:
        """The figures of a mixture; arguments as measure_figures."""
        with self.program(kept, remember=True) as program:
            return measure_figures(program, frame, answers, frames)

    def weigh(self, kept: Collection[str]) -> tuple[float, int]:
        """The share of a frame's multiplications that is INT8, and the size of the weights in bytes."""
        work = {block.name: block.macs * self._calls[block.stage] for block in self.blocks}
        share = math.fsum(macs for name, macs in work.items() if name not in kept) / max(sum(work.values()), 1)
        quantised = sum(block.weights for block in self.blocks if block.name not in kept)
        return share, 4 * self._manifest.model.parameters - 3 * quantised

    def _inside(self, stage: str, kept: Collection[str]) -> frozenset[str]:
        return frozenset(block.name for block in self._stages[stage].blocks if block.name in kept)

    def _memory(self, stage: str, kept: Collection[str]) -> Path | None:
        inside, blocks = len(self._inside(stage, kept)), len(self._stages[stage].blocks)
        if inside not in (0, blocks):
            return None  # a mixture that won't come again: its answers would fill the disk
        return self._workspace.folder / "memo" / f"{stage}-{'high' if inside == blocks else 'int8'}"
