"""What a training run keeps: settings, curves, a checkpoint to go on from, and the weights of each finished phase.

Everything appears whole or not at all, so that a killed run or a full disk costs the steps since the last
checkpoint and nothing else.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgedepth.core.errors import OutputError, TrainingError
from edgedepth.core.files import write_file
from edgedepth.core.optional import require
from edgedepth.training.curves import CurvePoint, read_curves, render_curves

__all__ = ["RunFolder"]


class RunFolder:
    """A training run's folder.

    Args:
        path: made if it is not there.
        settings: of the run; a folder of other settings is refused.

    Raises:
        TrainingError: the folder holds a run of other settings, or something else.
        OutputError: it can't be written.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self._curves: list[CurvePoint] = []
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise OutputError(
                f"{path} can't be made: {problem.strerror}", remedy="name another folder with --out"
            ) from problem
        self._claim(settings)

    def _claim(self, settings: Mapping[str, Any]) -> None:
        file = self.path / "settings.json"
        wanted = json.loads(json.dumps(settings))
        if not file.exists():
            if any(self.path.iterdir()):
                raise TrainingError(
                    f"{self.path} is neither empty nor a training run", remedy="name another folder with --out"
                )
            write_file(file, json.dumps(wanted, indent=2).encode())
            return
        try:
            held = json.loads(file.read_text(encoding="utf-8"))
            self._curves = read_curves(self._curves_file) if self._curves_file.exists() else []
        except (ValueError, KeyError) as problem:
            raise TrainingError(
                f"{self.path} is a damaged training run: {problem}", remedy="name another folder with --out"
            ) from problem
        if held != wanted:
            differing = sorted(key for key in held.keys() | wanted.keys() if held.get(key) != wanted.get(key))
            raise TrainingError(
                f"{self.path} holds a run of other settings: {', '.join(differing)} differ",
                remedy="name another folder with --out, or give that run's options to go on with it",
            )

    def weights_file(self, phase: str) -> Path:
        """Where a finished phase's weights are."""
        return self.path / f"{phase}.safetensors"

    def save_weights(self, phase: str, state: Mapping[str, Tensor]) -> None:
        """Keep a finished phase's weights; its checkpoint is done with.

        Raises:
            OutputError: a full disk; the checkpoint stays.
        """
        safetensors = require("safetensors.torch", extra="train", purpose="keep weights")
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        write_file(self.weights_file(phase), safetensors.save(kept))
        self._write_curves()
        self._checkpoint_file.unlink(missing_ok=True)

    def load_weights(self, phase: str) -> dict[str, Tensor]:
        """A finished phase's weights."""
        safetensors = require("safetensors.torch", extra="train", purpose="read weights")
        weights: dict[str, Tensor] = safetensors.load_file(self.weights_file(phase))
        return weights

    def finish(self, phase: str) -> None:
        """A phase is done whose weights are kept elsewhere: its checkpoint goes.

        Raises:
            OutputError: a full disk.
        """
        self._write_curves()
        if self._checkpoint_file.exists() and self.load_checkpoint(phase) is not None:
            self._checkpoint_file.unlink()

    @property
    def _checkpoint_file(self) -> Path:
        return self.path / "checkpoint.pt"

    def save_checkpoint(self, phase: str, step: int, state: Mapping[str, Any]) -> None:
        """Keep where a phase is, `step` steps behind it, and the curves so far.

        Raises:
            OutputError: a full disk; the last checkpoint stays.
        """
        buffer = io.BytesIO()
        torch.save({"phase": phase, "step": step, **state}, buffer)
        write_file(self._checkpoint_file, buffer.getbuffer())
        self._write_curves()

    def load_checkpoint(self, phase: str) -> dict[str, Any] | None:
        """The checkpoint, if it is of this phase; curves are cut back to it.

        Raises:
            TrainingError: the file can't be read.
        """
        if not self._checkpoint_file.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self._checkpoint_file, map_location="cpu", weights_only=True)
        except Exception as problem:
            raise TrainingError(
                f"{self._checkpoint_file} can't be read: {problem}",
                remedy="delete it: the run goes on from the last finished phase",
            ) from problem
        if state["phase"] != phase:
            return None
        self._curves = [p for p in self._curves if p.phase != phase or p.step <= state["step"]]
        return state

    def log(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """Add to the curves; they reach the disk with the next checkpoint."""
        self._curves += [CurvePoint(phase=phase, step=step, name=n, value=v) for n, v in values.items()]

    @property
    def curves(self) -> tuple[CurvePoint, ...]:
        """All that was logged."""
        return tuple(self._curves)

    def _write_curves(self) -> None:
        write_file(self._curves_file, render_curves(self._curves).encode())

    @property
    def _curves_file(self) -> Path:
        return self.path / "curves.csv"
