"""Optional packages: imported where they are used, and missed in one line that cures it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from types import ModuleType

from edgedepth.core.errors import MissingExtraError

__all__ = ["installed_version", "is_installed", "require"]


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional module.

    Args:
        module: its import name, "onnxruntime".
        extra: the extra of edgedepth that installs it.
        purpose: what it is needed for, as the end of "... is needed ".

    Raises:
        MissingExtraError: it isn't installed, or it doesn't import (then with the reason).
    """
    top = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except Exception as error:  # a broken installation raises anything: OSError for a library, RuntimeError for an ABI
        if isinstance(error, ModuleNotFoundError) and error.name == top:
            state, pip = "is not installed", "pip install"
        else:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            state, pip = f"does not import ({reason})", "pip install --force-reinstall"
        raise MissingExtraError(
            f"{top} is needed {purpose} and {state}", remedy=f"{pip} 'edgedepth[{extra}]'"
        ) from error


def is_installed(module: str) -> bool:
    """Whether a module can be found, without importing it (of "a.b", a is imported)."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def installed_version(distribution: str) -> str | None:
    """The installed version of a distribution ("onnxruntime"), or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
