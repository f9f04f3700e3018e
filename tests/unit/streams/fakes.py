"""An EdgeDepth on fake stages, with faults where a test wants them: the same code as on real ones, in milliseconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgedepth import EdgeDepth
from edgedepth.core.spec import ModelSpec
from edgedepth.models.depth_pro_config import (
    DEPTH_PRO_MINI,
    depth_pro_preprocess,
    depth_pro_stages,
    depth_pro_tiling,
)
from edgedepth.programs.fake_session import open_fake_stages
from edgedepth.programs.faulty_session import Fault, FaultyStages
from edgedepth.sources import Source

CONFIG = replace(DEPTH_PRO_MINI, width=6, decoder_width=8)
SPEC = ModelSpec(
    name="small",
    family="depth-pro",
    kind="metric",
    stages=depth_pro_stages(CONFIG),
    preprocess=depth_pro_preprocess(CONFIG),
    tiling=depth_pro_tiling(CONFIG),
    parameters=1,
    licence="none",
    source="none",
    weights_sha256="0" * 64,
    trained=True,
)
RNG = np.random.default_rng(11)
FRAMES = [RNG.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(6)]


def fake_depth(*faults: Fault, **options) -> tuple[EdgeDepth, FaultyStages]:
    stages = FaultyStages(open_fake_stages(SPEC), *faults)
    source = Source(spec=SPEC, backend="fake", layout="staged", tile_batch=None, open_stage=stages, bundle=None)
    return EdgeDepth(source, **options), stages
