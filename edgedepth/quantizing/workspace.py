"""Where the work on one INT8 bundle lies while it is done, so that an interrupted one goes on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.errors import BundleError
from edgedepth.core.folders import locked
from edgedepth.core.store import cache_folder

__all__ = ["Workspace"]


class Workspace:
    """A folder of the artefact store, named by everything that its content follows from.

    The budget isn't among that: a search for another one starts from what was measured for the last.

    Args:
        key: plain values: weights, calibration set, options, versions.
    """

    def __init__(self, key: Mapping[str, Any]) -> None:
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        self.folder = cache_folder() / "int8" / digest[:24]

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Keep the folder to this process, which makes it. Yields whether an earlier run left something in it.

        Raises:
            BundleBusyError: another process is at the same work.
        """
        with locked(self.folder, remedy="wait for it: the same INT8 export is under way, and goes on from what it did"):
            resumed = self.folder.is_dir()
            self.folder.mkdir(parents=True, exist_ok=True)
            yield resumed

    def bundle(self, name: str, export: Callable[[Path], Bundle]) -> Bundle:
        """A bundle that is needed on the way: the one that is there if it is whole, else exported."""
        folder = self.folder / name
        try:
            return open_bundle(folder)
        except BundleError:
            shutil.rmtree(folder, ignore_errors=True)
            return export(folder)

    def empty(self, name: str) -> Path:
        """A folder with nothing in it."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def remove(self) -> None:
        """Delete all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)
