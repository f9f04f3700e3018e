"""A bundle proves itself once on every device: its golden frame, run on first use, remembered in the store."""

from __future__ import annotations

import logging

from edgedepth.core.bundle import Bundle
from edgedepth.core.remembered import recall, remember
from edgedepth.verify.parity import Predictor
from edgedepth.verify.selftest import run_self_test

__all__ = ["is_proven", "prove"]

log = logging.getLogger("edgedepth")

_KIND = "proven"


def is_proven(bundle: Bundle, runtime: str) -> bool:
    """Whether this very bundle has reproduced its golden frame here, on this runtime.

    Args:
        bundle: to be run.
        runtime: backend, version and device, in words. Any change asks for a new proof.
    """
    return recall(_KIND, bundle, runtime) is not None


def prove(bundle: Bundle, runtime: str, predictor: Predictor) -> float:
    """Run the golden frame and remember that it came out right.

    Returns:
        AbsRel against the golden depth.

    Raises:
        SelfTestError: it came out wrong.
    """
    golden = bundle.manifest.golden
    log.info("first use of %s on this device: running its golden frame", bundle.path)
    abs_rel = run_self_test(predictor, golden, bundle.file(golden.path))
    remember(_KIND, bundle, runtime, {"abs_rel": abs_rel})
    return abs_rel
