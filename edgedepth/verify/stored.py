"""Parity without the reference: its outputs for the golden frame travel in every bundle.

One picture proves less than a folder of them, and stages run on each other's outputs, so an error is carried along.
What a report says of it is told apart by its `reference`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgedepth.core.errors import CheckFailedError
from edgedepth.core.manifest import PROBE
from edgedepth.core.session import Array
from edgedepth.core.tolerances import Tolerance
from edgedepth.verify.agreement import compare_picture
from edgedepth.verify.depth_errors import compare_tensors
from edgedepth.verify.parity import Predictor
from edgedepth.verify.parity_report import STORED, ParityReport, judge, stage_parity
from edgedepth.verify.selftest import golden_outputs
from edgedepth.verify.shadow import StageScore

__all__ = ["GOLDEN_PICTURE", "verify_stored"]

GOLDEN_PICTURE = "the golden frame"


def verify_stored(candidate: Predictor, seen: Mapping[str, Array], path: Path, tolerance: Tolerance) -> ParityReport:
    """Compare a bundle with what the reference gave for its golden frame.

    Stages are shown and not judged: their tolerances are for stages that are fed the reference's own inputs.

    Args:
        candidate: the bundle's program, over stages that are watched.
        seen: filled by its run: some values of each stage's outputs, by "stage.output" (programs/probes.py).
        path: the golden .npz.
        tolerance: what is still right.

    Raises:
        BundleTamperedError: the .npz isn't readable.
    """
    frame, depth, fov_deg = golden_outputs(path)
    failures, pictures = [], []
    try:
        actual = candidate.predict(frame)
    except CheckFailedError as error:
        failures.append(f"{GOLDEN_PICTURE}: {error}")
    else:
        pictures.append(
            compare_picture(GOLDEN_PICTURE, actual.depth, depth, fov_deg=actual.fov_deg, reference_fov_deg=fov_deg)
        )
    report = judge({}, pictures, tolerance=tolerance, failures=failures, needs_stages=False)
    scores = _stage_scores(path, seen)
    return replace(
        report,
        images=len(pictures),
        reference=STORED,
        stages={name: stage_parity(score) for name, score in scores.items()},
        notes=(
            "the reference itself didn't run: one drawn picture was compared, and stages, which are not judged, run on "
            "what the bundle's own stages before them gave",
        ),
    )


def _stage_scores(path: Path, seen: Mapping[str, Array]) -> dict[str, StageScore]:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
        expected = {name.removeprefix(PROBE): archive[name] for name in archive.files if name.startswith(PROBE)}
    scores: dict[str, StageScore] = {}
    for name, values in seen.items():
        if name in expected and expected[name].shape == values.shape:
            scores.setdefault(name.partition(".")[0], StageScore()).add(compare_tensors(values, expected[name]))
    return scores
