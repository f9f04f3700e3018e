"""The crew that was asked for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from edgedepth.crew.base import Crew, CrewOptions, OpenWorker, W
from edgedepth.crew.here import Here
from edgedepth.crew.processes import Processes

__all__ = ["open_crew"]


@contextlib.contextmanager
def open_crew(open_worker: OpenWorker[W], options: CrewOptions, *, uses_gpu: bool = False) -> Iterator[Crew[W]]:
    """A crew, for the time of a with statement; its workers are opened when there is work.

    Args:
        open_worker: opens one. Beyond this process it is pickled.
        options: who works.
        uses_gpu: whether a worker takes a GPU where the cluster has one.

    Raises:
        EdgeDepthError: as RayActors.
    """
    crew: Crew[W]
    if options.engine == "ray":
        from edgedepth.crew.ray_data import RayActors

        crew = RayActors(open_worker, options, uses_gpu=uses_gpu)
    elif options.workers == 1:
        crew = Here(open_worker, options.threads)
    else:
        threads = options.threads or max(1, (os.cpu_count() or 1) // options.workers)
        crew = Processes(open_worker, options.workers, threads)
    try:
        yield crew
    finally:
        crew.close()
