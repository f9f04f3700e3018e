"""Write a server's model repository from a bundle: NVIDIA Triton, or OpenVINO Model Server.

    edgedepth repository BUNDLE --server triton --out repository
    edgedepth repository BUNDLE --server ovms --out repository

Each stage becomes one of the server's models. With a bundle exported with --dynamic-batch Triton puts tiles of several
cameras together; `--serve` of `edgedepth export` writes bundle and repository in one go. Clients run
EdgeDepth(BUNDLE, backend="triton", url="host:8001"), which tiles and fuses locally.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgedepth.cli.console import note, print_json
from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.signing import trusted_key_of_environment
from edgedepth.serving import SERVERS, Server, write_repository

__all__ = ["SUMMARY", "add_arguments", "print_repository", "repository_facts", "run"]

SUMMARY = "write a model repository for Triton or OpenVINO Model Server"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("bundle", type=Path, help="a bundle of target onnx or openvino")
    parser.add_argument("--server", choices=SERVERS, required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the repository's folder")
    parser.add_argument("--instances", type=int, default=1, metavar="N", help="of each stage at once (default: 1)")
    parser.add_argument(
        "--max-tiles", type=int, default=35, metavar="N", help="of several cameras in one batch (default: 35)"
    )
    parser.add_argument(
        "--queue-delay-us",
        type=int,
        default=2000,
        metavar="N",
        help="microseconds that Triton waits for other cameras' tiles (default: 2000)",
    )
    parser.add_argument(
        "--version", type=int, default=1, metavar="N", help="that the server shall call it (default: 1)"
    )


def run(args: argparse.Namespace) -> int:
    """Write, and tell how to start the server."""
    bundle = open_bundle(args.bundle, trusted_key=trusted_key_of_environment())
    folder = write_repository(
        bundle,
        args.server,
        args.out,
        instances=args.instances,
        max_tiles=args.max_tiles,
        queue_delay_us=args.queue_delay_us,
        version=args.version,
    )
    if args.json:
        print_json(repository_facts(bundle, args.server, folder))
    else:
        print_repository(bundle, args.server, folder)
    return 0


def repository_facts(bundle: Bundle, server: Server, folder: Path) -> dict[str, Any]:
    """What was written, as JSON has it."""
    models = [bundle.served_name(stage) for stage in bundle.manifest.artefacts]
    return {"repository": str(folder), "server": server, "models": models}


def print_repository(bundle: Bundle, server: Server, folder: Path) -> None:
    """What was written, and how the server is started on it."""
    print(f"{folder}: {', '.join(repository_facts(bundle, server, folder)['models'])}")
    if server == "triton":
        if bundle.manifest.tile_batch is not None:
            note(
                f"the bundle has a fixed tile batch of {bundle.manifest.tile_batch}: tiles of several cameras are not "
                "put together; edgedepth export --dynamic-batch makes one where they are"
            )
        start = f"tritonserver --model-repository={folder.resolve()}"
    else:
        image = "openvino/model_server --config_path /models/config.json --port 9000"
        start = f"docker run -p 9000:9000 -v {folder.resolve()}:/models {image}"
    print(f"start: {start}")
