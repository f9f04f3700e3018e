"""The golden frame: a drawn picture and what the reference makes of it, which every device has to reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.manifest import PROBE, Golden
from edgedepth.core.spec import ModelSpec, Precision
from edgedepth.core.tolerances import tolerance_for
from edgedepth.models.loading import LoadedModel
from edgedepth.programs.frames import as_rgb
from edgedepth.programs.opening import open_program, proof_of
from edgedepth.programs.probes import Probes
from edgedepth.programs.stages import StagePool

__all__ = ["GOLDEN_FILE", "draw_golden_frame", "write_golden"]

GOLDEN_FILE = "golden.npz"
HEIGHT, WIDTH = 96, 128


def write_golden(
    source: LoadedModel, folder: Path, *, tile_batch: int, precision: Precision, spec: ModelSpec | None = None
) -> Golden:
    """Run the reference on the golden frame and write both.

    The reference runs stage by stage with `tile_batch` tiles at a time: all 35 at once take twice the memory.

    Args:
        source: the eager fp32 reference.
        folder: where the .npz goes.
        tile_batch: tiles in a micro-batch.
        precision: of the bundle, which says how near a device has to come.
        spec: the stages to run it in; None: the source's own.

    Returns:
        What the manifest says of it.

    Raises:
        UnusableOutputError: the reference's own output can't be metres.
        OSError: the disk.
    """
    from edgedepth.models.module_session import module_stages  # imports torch

    frame = draw_golden_frame()
    # The stages share the model's weights, so opening them in turn costs nothing and lets buffers go early.
    probes = Probes(module_stages(source))
    with StagePool(probes.open, resident="one") as pool:
        program = open_program(spec or source.spec, pool, layout="staged", tile_batch=tile_batch)
        prediction = proof_of(program).predict(as_rgb(frame, "rgb"))
    arrays: dict[str, Any] = {f"{PROBE}{name}": values for name, values in probes.seen.items()}
    arrays |= {
        "frame_rgb": frame,
        "depth": prediction.depth.astype(np.float32),
        "fov_deg": np.float32(prediction.fov_deg),
    }
    np.savez(folder / GOLDEN_FILE, **arrays)
    tolerance = tolerance_for(precision)
    return Golden(path=GOLDEN_FILE, max_abs_rel=tolerance.abs_rel, reason=tolerance.reason)


def draw_golden_frame() -> npt.NDArray[np.uint8]:
    """A floor, a wall, a ball and a checkerboard, (96, 128, 3) uint8 RGB.

    Every tile of the pyramid sees edges and gradients, so a tile in the wrong place shows. Integers only: the
    same bytes on every machine.
    """
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    horizon = 40
    wall = np.stack((200 - y, 150 + x // 4, 120 + 0 * x), axis=-1)
    floor = np.stack((60 + y, 40 + y + x // 8, 50 + x // 2), axis=-1)
    frame: npt.NDArray[Any] = np.where((y < horizon)[..., None], wall, floor)
    checks = ((x // 8 + y // 8) % 2 * 170 + 40)[..., None]
    frame = np.where(((x >= 76) & (x < 116) & (y >= 12) & (y < 68))[..., None], checks, frame)
    from_ball = (x - 40) ** 2 + (y - 52) ** 2
    ball = np.stack((240 - from_ball // 4, 60 + x // 2, 70 + 0 * x), axis=-1)
    frame = np.where((from_ball < 22**2)[..., None], ball, frame)
    grain = (x * 7 + y * 13 + x * y) % 11 - 5  # no two places alike
    drawn: npt.NDArray[np.uint8] = np.clip(frame + grain[..., None], 0, 255).astype(np.uint8)
    return drawn
