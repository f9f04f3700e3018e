"""fit: a head for an RSA model's frozen parts, from a data set with captions."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgedepth.core.files import write_file
from edgedepth.core.optional import require
from edgedepth.core.progress import Announce, Progress, silent, unheard
from edgedepth.datasets.captions import CaptionedSet
from edgedepth.facade import EdgeDepth
from edgedepth.models.rsa_head_config import FIVE_LAYERS, THREE_LAYERS, scaled
from edgedepth.rsa.evaluating import BASELINES
from edgedepth.rsa.protocols import range_m
from edgedepth.rsa.seeing import check_model, see

if TYPE_CHECKING:
    from edgedepth.training.head_fitting import FitSettings

__all__ = ["HEAD", "FitReport", "fit"]

HEAD = "head.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """The outcome.

    Args:
        head: its file, for --weights head=.
        baselines: the file of the rows Global and Image, fitted to the same pictures.
        pictures: that were used.
        captions: of all of them.
        loss: of validation in the best epoch: metres for l1.
        epoch: the best one.
        epochs: that were run.
    """

    head: str
    baselines: str
    pictures: int
    captions: int
    loss: float
    epoch: int
    epochs: int


def fit(
    model: EdgeDepth,
    data_set: CaptionedSet,
    out: str | os.PathLike[str],
    *,
    settings: FitSettings,
    five_layers: bool = False,
    limit: int | None = None,
    progress: Progress = silent,
    announce: Announce = unheard,
) -> FitReport:
    """Fit a head. The same call goes on with a fit that was stopped; what the frozen parts gave is kept in `out`.

    Args:
        model: an RSA model, opened; its own head isn't looked at.
        data_set: pictures with depth and captions.
        out: folder of the fit: head.safetensors, baselines.safetensors, curves.csv, settings.json, features.npz.
        settings: how; depths are clamped to the data set's own range.
        five_layers: the later published layout instead of the released heads'; either is narrower where text features
            are narrower than RN50's.
        limit: so many samples, spread evenly.
        progress: is told samples and epochs.
        announce: is told what is done.

    Raises:
        OptionError: the model reads no captions.
        TrainingError: settings that no fit can have, a folder of another fit, too few pictures.
        CheckFailedError: not one sample could be used.
        OutputError: a full disk.
    """
    safetensors = require("safetensors.torch", extra="export", purpose="to keep a head")
    from edgedepth.training.head_fitting import FitPairs, fit_head
    from edgedepth.training.rsa_baselines import fit_baselines, save_baselines
    from edgedepth.training.run_folder import RunFolder

    check_model(model)
    nearest_m, farthest_m = range_m(data_set.samples)
    settings = replace(settings, min_depth_m=nearest_m, max_depth_m=farthest_m)
    facts = {
        "fit": asdict(settings),
        "five_layers": five_layers,
        "data_set": data_set.place,
        "limit": limit,
        "model": model.spec.name,
        "weights_sha256": model.spec.weights_sha256,
    }
    folder = RunFolder(Path(out), facts)
    announce(f"relative depth and captions of {data_set.samples.name}: computed once")
    seen = see(model, data_set, limit=limit, cache=folder.path / "features.npz", progress=progress)
    pairs = FitPairs.of_arrays(features=seen.text, owners=seen.owners, relative=seen.relative, depth_m=seen.depth_m)
    config = scaled(FIVE_LAYERS if five_layers else THREE_LAYERS, seen.text.shape[1])
    found = fit_head(pairs, config, settings, folder, progress=progress)
    head = folder.path / HEAD
    state = {name: tensor.contiguous() for name, tensor in found.head.state_dict().items()}
    write_file(head, safetensors.save(state))
    baselines = folder.path / BASELINES
    save_baselines(fit_baselines(pairs, seen.descriptors, settings, progress=progress), baselines)
    return FitReport(
        head=str(head),
        baselines=str(baselines),
        pictures=len(seen.relative),
        captions=len(seen.text),
        loss=found.loss,
        epoch=found.epoch,
        epochs=found.epochs,
    )
