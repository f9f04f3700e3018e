"""What TensorRT tells while it works: its log, of which errors are kept, and the progress of a build."""

from __future__ import annotations

import logging
import time
from typing import Any

from edgedepth.core.progress import Progress

__all__ = ["make_logger", "make_monitor"]

log = logging.getLogger("edgedepth")

_EVERY_S = 10.0  # of a long phase's parts, told beside the phases themselves


def make_logger(module: Any) -> Any:
    """A logger that keeps errors: most functions of TensorRT return None and say why to the log alone."""
    severity = module.ILogger.Severity

    class Log(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._errors: list[str] = []

        def log(self, level: Any, message: str) -> None:
            if level in (severity.ERROR, severity.INTERNAL_ERROR):
                self._errors.append(" ".join(message.split()))
            log.debug("TensorRT: %s", message)

        def first_error(self) -> str:
            # Where there is no driver, each call also says so; what was there first is what went wrong.
            return self._errors[0] if self._errors else "it gives no reason"

        def forget(self) -> None:
            self._errors.clear()

    return Log()


def make_monitor(module: Any, progress: Progress) -> Any:
    """A progress monitor, or None where TensorRT has none (before 10).

    An exception of `progress`, Ctrl-C among them, must not pass through TensorRT's C++: it ends the build and is raised
    by reraise() after it.
    """
    if not hasattr(module, "IProgressMonitor"):
        return None

    class Monitor(module.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._top: tuple[str, int] | None = None
            self._done = 0
            self._told_s = 0.0
            self._raised: BaseException | None = None

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            if parent is None:
                self._top, self._done = (name, steps), 0
            assert self._top is not None
            if parent is None or parent == self._top[0] or time.monotonic() - self._told_s > _EVERY_S:
                self._tell(name)

        def step_complete(self, name: str, step: int) -> bool:
            if self._top is not None and name == self._top[0]:
                self._done = step + 1
            return self._raised is None

        def phase_finish(self, name: str) -> None:
            pass

        def reraise(self) -> None:
            if self._raised is not None:
                raise self._raised

        def _tell(self, name: str) -> None:
            self._told_s = time.monotonic()
            try:
                progress(name, self._done, self._top[1] if self._top else 1)
            except BaseException as error:
                self._raised = self._raised or error

    return Monitor()
