"""Workers on a Ray cluster, through Ray Data: one model an actor, frames of lost machines labelled again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from edgedepth.core.errors import DeviceError
from edgedepth.core.optional import require
from edgedepth.core.plain import from_plain, to_plain
from edgedepth.labelling.frames import FrameRef
from edgedepth.labelling.labels import Label
from edgedepth.labelling.worker import Labeller, LabellerSettings

__all__ = ["label_on_ray"]

_BLOCK = 8  # frames that are given out, and lost with a machine, together


def label_on_ray(
    refs: Sequence[FrameRef],
    settings: LabellerSettings,
    workers: int,
    *,
    address: str | None = None,
    cpus: float = 1,
    gpus: float = 0,
) -> Iterator[Label]:
    """Label on a cluster; labels come as machines finish, and a frame may come twice where a machine was lost.

    Args:
        refs: the frames; their files, the bundle and the output folder must be the same paths on every machine.
        settings: of the workers.
        workers: actors.
        address: of the cluster: "auto", "ray://head:10001"; None starts one on this machine.
        cpus: that each actor reserves.
        gpus: likewise.

    Raises:
        MissingExtraError: ray isn't installed.
        DeviceError: there is no cluster at that address.
        EdgeDepthError: a worker can't open the model.
    """
    ray = require("ray", extra="ray", purpose="for clusters")
    data = require("ray.data", extra="ray", purpose="for clusters")
    started = not ray.is_initialized()
    if started:
        try:
            ray.init(address=address, include_dashboard=False, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise DeviceError(
                f"there is no Ray cluster at {address}: {error}", remedy="ray start --head, or leave --address out"
            ) from error
    try:
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        rows = data.from_items([to_plain(ref) for ref in refs], override_num_blocks=-(-len(refs) // _BLOCK))
        labels = rows.map(
            _RayLabeller,
            fn_constructor_kwargs={"settings": to_plain(settings)},
            compute=data.ActorPoolStrategy(min_size=1, max_size=workers),
            num_cpus=cpus,
            num_gpus=gpus,
            max_restarts=-1,
            max_task_retries=-1,
        )
        for row in labels.iter_rows():
            yield from_plain(Label, row, where="label")
    finally:
        if started:
            ray.shutdown()


class _RayLabeller:
    """An actor of Ray Data."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._labeller = Labeller(from_plain(LabellerSettings, settings, where="settings"))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        plain: dict[str, Any] = to_plain(self._labeller(from_plain(FrameRef, row, where="frame")))
        return plain
