"""An optional package is missed in one line that cures it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from edgedepth.core.errors import MissingExtraError
from edgedepth.core.optional import installed_version, is_installed, require


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on sys.path to plant modules in."""
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return tmp_path


def test_gives_the_module() -> None:
    assert require("json", extra="onnx", purpose="to test") is json


@pytest.mark.parametrize("module", ["no_such_package_here", "no_such_package_here.sub"])
def test_an_absent_module_names_the_extra(module: str) -> None:
    with pytest.raises(MissingExtraError) as caught:
        require(module, extra="onnx", purpose="to run bundles")
    assert str(caught.value) == (
        "no_such_package_here is needed to run bundles and is not installed | pip install 'edgedepth[onnx]'"
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import no_such_dependency", "ModuleNotFoundError: No module named 'no_such_dependency'"),
        ("raise ImportError('libfoo.so.9: cannot open\\n  shared object')", "libfoo.so.9: cannot open shared object"),
        ("raise OSError('libcudart is missing')", "OSError: libcudart is missing"),
        ("raise RuntimeError('compiled against another numpy')", "RuntimeError: compiled against another numpy"),
        ("def (", "SyntaxError: invalid syntax"),
    ],
)
def test_a_module_that_does_not_import_tells_why(planted: Path, body: str, reason: str) -> None:
    (planted / "broken_package_here.py").write_text(body)
    with pytest.raises(MissingExtraError) as caught:
        require("broken_package_here", extra="coreml", purpose="to test")
    text = str(caught.value)
    assert "does not import" in text
    assert reason in text
    assert "\n" not in text
    # It is installed, so plain pip would find nothing to do.
    assert text.endswith("| pip install --force-reinstall 'edgedepth[coreml]'")


def test_a_missing_part_of_a_present_package_is_not_called_absent(planted: Path) -> None:
    (planted / "whole_package_here.py").write_text("")
    with pytest.raises(MissingExtraError, match="does not import"):
        require("whole_package_here.part", extra="onnx", purpose="to test")


def test_is_installed_looks_without_importing(planted: Path) -> None:
    (planted / "planted_package_here.py").write_text("raise SystemExit('imported')")
    assert is_installed("planted_package_here")
    assert not is_installed("no_such_package_here")
    assert not is_installed("no_such_package_here.sub")


def test_installed_version() -> None:
    assert installed_version("numpy") == importlib.import_module("numpy").__version__
    assert installed_version("no-such-package-here") is None
