"""What the whole suite shares. Real pictures lie beside a checkout or nowhere: tests that need them say so."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
REAL_PICTURES = ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's artefact store."""
    monkeypatch.setenv("EDGEDEPTH_HOME", str(tmp_path / "edgedepth-home"))


@pytest.fixture(scope="session")
def real_pictures() -> Path:
    """The folder of real pictures that developers keep beside their checkout."""
    if not REAL_PICTURES.is_dir():
        pytest.skip("the real pictures are not beside this checkout (../shared/data)")
    return REAL_PICTURES
