"""A bundle proves itself once on every device: its golden frame, run on first use, remembered in the store."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from edgedepth.core.bundle import MANIFEST, Bundle
from edgedepth.core.environment import cpu_name
from edgedepth.core.store import home
from edgedepth.verify.parity import Predictor
from edgedepth.verify.selftest import run_self_test

__all__ = ["is_proven", "prove"]

log = logging.getLogger("edgedepth")


def is_proven(bundle: Bundle, runtime: str) -> bool:
    """Whether this very bundle has reproduced its golden frame here, on this runtime.

    Args:
        bundle: to be run.
        runtime: backend, version and device, in words. Any change asks for a new proof.
    """
    return _marker(bundle, runtime).is_file()


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
    marker = _marker(bundle, runtime)
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(json.dumps({"runtime": runtime, "abs_rel": abs_rel}) + "\n", encoding="utf-8")
    except OSError as error:
        log.warning("the proof can't be remembered, it will run again next time: %s", error)
    return abs_rel


def _marker(bundle: Bundle, runtime: str) -> Path:
    digest = hashlib.sha256((bundle.path / MANIFEST).read_bytes())
    digest.update(f"\0{runtime}\0{cpu_name()}".encode())
    return home() / "proven" / f"{digest.hexdigest()[:32]}.json"
