"""An EdgeDepth without a network: the same code as on a real one, in milliseconds, with faults where they are wanted.

Control loops, streams and nodes are tried with it. Its depth is a mean of pixels, and means nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgedepth.core.spec import ModelSpec
from edgedepth.facade import EdgeDepth
from edgedepth.models.depth_pro_config import (
    DEPTH_PRO_MINI,
    depth_pro_preprocess,
    depth_pro_stages,
    depth_pro_tiling,
)
from edgedepth.programs.fake_session import open_fake_stages
from edgedepth.programs.faulty_session import Fault, FaultyStages
from edgedepth.sources import Source

__all__ = ["FAKE_SPEC", "fake_depth"]

_CONFIG = replace(DEPTH_PRO_MINI, width=6, decoder_width=8)

FAKE_SPEC = ModelSpec(
    name="fake",
    family="depth-pro",
    kind="metric",
    stages=depth_pro_stages(_CONFIG),
    preprocess=depth_pro_preprocess(_CONFIG),
    tiling=depth_pro_tiling(_CONFIG),
    parameters=0,
    licence="none",
    source="numpy",
    weights_sha256="0" * 64,
    trained=False,
)
"""The mini's tiling with hardly any channels."""


def fake_depth(*faults: Fault, **options: Any) -> tuple[EdgeDepth, FaultyStages]:
    """Open it.

    Args:
        faults: what goes wrong, and when.
        options: of EdgeDepth.

    Returns:
        The model, and its stages: they count runs, and let go of what hangs.
    """
    stages = FaultyStages(open_fake_stages(FAKE_SPEC), *faults)
    source = Source(spec=FAKE_SPEC, backend="fake", layout="staged", tile_batch=None, open_stage=stages, bundle=None)
    return EdgeDepth(source, **options), stages
