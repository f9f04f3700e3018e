"""A bundle as a model repository: its stages as a server's models, each in a folder of its own.

Triton: REPO/MODEL-STAGE/config.pbtxt and REPO/MODEL-STAGE/1/…
OpenVINO Model Server: REPO/config.json and REPO/MODEL-STAGE/1/…

Tiling and fusion stay with the client, EdgeDepth(BUNDLE, backend="triton", url=...): what crosses the network is tiles
and features.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from edgedepth.core.bundle import Bundle
from edgedepth.core.errors import OptionError, UnsupportedError
from edgedepth.core.folders import replace_folder
from edgedepth.serving.ovms import ovms_config
from edgedepth.serving.triton import triton_config

__all__ = ["SERVERS", "Server", "check_served_target", "write_repository"]

Server = Literal["triton", "ovms"]
SERVERS: tuple[Server, ...] = get_args(Server)

_MARK = "edgedepth-repository.json"
_MOST = 2**31 - 1  # what the configuration's fields hold
_TARGETS = {"triton": ("onnx", "openvino"), "ovms": ("onnx", "openvino")}


def write_repository(
    bundle: Bundle,
    server: Server,
    out: str | os.PathLike[str],
    *,
    instances: int = 1,
    max_tiles: int = 35,
    queue_delay_us: int = 2000,
    version: int = 1,
) -> Path:
    """Write a model repository, whole or not at all.

    Args:
        bundle: of target onnx or openvino.
        server: "triton" or "ovms".
        out: the repository's folder. One that this function wrote is replaced.
        instances: of each stage that the server runs at once.
        max_tiles: with a bundle of any tile batch, the most tiles of several cameras that the server puts together.
        queue_delay_us: how long it waits for them, in microseconds.
        version: that the server shall call it; servers take the highest one that is there.

    Returns:
        The folder.

    Raises:
        UnsupportedError: a bundle whose artefacts the server doesn't run.
        OptionError: a number that is none.
        OutputError: the folder can't be written, or holds something else.
        MissingExtraError: the protobuf schema of Triton isn't installed.
    """
    for name, number, least in (
        ("instances", instances, 1),
        ("max_tiles", max_tiles, 1),
        ("queue_delay_us", queue_delay_us, 0),
        ("version", version, 1),
    ):
        if not least <= number <= _MOST:
            raise OptionError(f"{name} is {number}; allowed are {least} to {_MOST}", remedy=f"leave {name} out")
    manifest = bundle.manifest
    check_served_target(manifest.target, server, manifest.model.name)
    with replace_folder(Path(out), ours=lambda folder: (folder / _MARK).is_file()) as folder:
        for stage, artefact in manifest.artefacts.items():
            model = folder / bundle.served_name(stage)
            (model / str(version)).mkdir(parents=True)
            for source in _files_of(bundle, artefact.path):
                shutil.copy2(bundle.file(source), model / str(version) / Path(source).name)
            if server == "triton":
                text = triton_config(
                    bundle.served_name(stage),
                    artefact,
                    manifest.target,
                    instances=instances,
                    max_tiles=max_tiles,
                    queue_delay_us=queue_delay_us,
                )
                (model / "config.pbtxt").write_text(text, encoding="utf-8")
        if server == "ovms":
            names = [bundle.served_name(stage) for stage in manifest.artefacts]
            (folder / "config.json").write_text(json.dumps(ovms_config(names, instances=instances), indent=2) + "\n")
        mark = {"server": server, "model": manifest.model.name, "weights_sha256": manifest.model.weights_sha256}
        (folder / _MARK).write_text(json.dumps(mark) + "\n")
    return Path(out)


def check_served_target(target: str, server: Server, model: str) -> None:
    """Refuse a target that a server doesn't run: before gigabytes are exported for it.

    Raises:
        UnsupportedError: it doesn't.
    """
    if target not in _TARGETS[server]:
        raise UnsupportedError(
            f"this bundle is for {target}; a repository of {server} takes {', '.join(_TARGETS[server])}",
            remedy=f"edgedepth export --model {model} --target onnx --dynamic-batch",
        )


def _files_of(bundle: Bundle, artefact: str) -> Iterator[str]:
    """The files in an artefact's folder: its graph and its weights."""
    folder = artefact.rpartition("/")[0]
    yield from (name for name in bundle.manifest.files if name.rpartition("/")[0] == folder)
