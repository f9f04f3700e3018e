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
    try:
        return importlib.import_module(module)
    except ImportError as error:
        top = module.partition(".")[0]
        absent = isinstance(error, ModuleNotFoundError) and error.name == top
        state = "is not installed" if absent else f"does not import ({error})"
        raise MissingExtraError(
            f"{top} is needed {purpose} and {state}", remedy=f"pip install 'edgedepth[{extra}]'"
        ) from error


def is_installed(module: str) -> bool:
    """Whether a module can be found, without importing it."""
    return importlib.util.find_spec(module) is not None


def installed_version(distribution: str) -> str | None:
    """The installed version of a distribution ("onnxruntime"), or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
