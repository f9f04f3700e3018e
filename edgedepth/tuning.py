"""tile_batch="auto": the micro-batch that is fastest on this device, measured once and remembered."""

from __future__ import annotations

import logging

from edgedepth.core.bundle import Bundle
from edgedepth.core.remembered import recall, remember
from edgedepth.core.session import Session
from edgedepth.core.spec import TilingSpec
from edgedepth.programs.tile_batches import frame_seconds_by_tile_batch

__all__ = ["tuned_tile_batch"]

log = logging.getLogger("edgedepth")

_KIND = "tile-batch"


def tuned_tile_batch(bundle: Bundle, runtime: str, patch_encoder: Session, tiling: TilingSpec) -> int:
    """The micro-batch for a bundle whose patch encoder takes any number of tiles.

    Args:
        bundle: to be run.
        runtime: backend, version, device and threads, in words: another one is measured anew.
        patch_encoder: its opened stage.
        tiling: of its model.
    """
    found = recall(_KIND, bundle, runtime)
    if found is not None and found.get("tile_batch") in range(1, tiling.count + 1):
        return int(found["tile_batch"])
    log.info("first use of %s with tile_batch='auto' on this device: measuring", bundle.path)
    seconds = frame_seconds_by_tile_batch(patch_encoder, tiling)
    tile_batch = min(seconds, key=lambda size: seconds[size])
    log.info(
        "tile_batch=%d: %s",
        tile_batch,
        ", ".join(f"{size} takes {1e3 * one:.0f} ms a frame" for size, one in seconds.items()),
    )
    remember(_KIND, bundle, runtime, {"tile_batch": tile_batch, "frame_s": {str(k): v for k, v in seconds.items()}})
    return tile_batch
