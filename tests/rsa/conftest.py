"""Miniatures in the registry, pictures, and an exported bundle."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("transformers", reason="networks of relative depth need the rsa extra: transformers")
pytest.importorskip("tokenizers", reason="captions need the captions extra: tokenizers")
pytest.importorskip("ftfy", reason="captions need the captions extra: ftfy")

from edgedepth import export_bundle
from edgedepth.core.bundle import Bundle
from edgedepth.models.registry import MODELS

from .miniatures import ENTRIES

Frame = np.ndarray


@pytest.fixture(autouse=True)
def _in_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, entry in ENTRIES.items():
        monkeypatch.setitem(MODELS, name, entry)


@pytest.fixture(scope="session")
def pictures() -> list[Frame]:
    """Two different ones, (72, 96, 3) uint8: soft blobs and edges."""
    drawn = []
    for seed in (1, 2):
        noise = np.random.default_rng(seed).random((9, 12, 3)).astype(np.float32)
        picture = cv2.resize(noise, (96, 72), interpolation=cv2.INTER_CUBIC)
        picture[20 * seed :, 30:60] *= 0.5
        drawn.append((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    return drawn


@pytest.fixture(scope="session")
def bundle(
    tracing_once: Callable[[], AbstractContextManager[None]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bundle]:
    """rsa-tiny for ONNX Runtime, fp32, random weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "rsa-tiny", ENTRIES["rsa-tiny"])
        with tracing_once():
            bundle = export_bundle(
                "rsa-tiny", "onnx", weights="random:0", out=tmp_path_factory.mktemp("rsa") / "bundle"
            )
        yield bundle


@pytest.fixture(scope="session")
def released_head() -> Path:
    """A head that RSA's authors published, which they gave no licence."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "rsa"
    path = Path(os.environ.get("EDGEDEPTH_RSA_HEADS", beside)) / "da_lanscale"
    if not path.is_file():
        pytest.skip("the released heads are not beside this checkout (../shared/rsa, or EDGEDEPTH_RSA_HEADS)")
    return path
