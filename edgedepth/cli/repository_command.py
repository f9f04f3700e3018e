"""Write a server's model repository from a bundle: NVIDIA Triton, or OpenVINO Model Server.

    edgedepth repository BUNDLE --server triton --out repository
    edgedepth repository BUNDLE --server ovms --out repository

Each stage becomes one of the server's models. With a bundle exported with --dynamic-batch Triton puts tiles of several
cameras together. Clients run EdgeDepth(BUNDLE, backend="triton", url="host:8001"), which tiles and fuses locally.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgedepth.cli.console import note, print_json
from edgedepth.core.bundle import open_bundle
from edgedepth.serving import SERVERS, write_repository

__all__ = ["SUMMARY", "add_arguments", "run"]

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


def run(args: argparse.Namespace) -> int:
    """Write, and tell how to start the server."""
    bundle = open_bundle(args.bundle)
    folder = write_repository(bundle, args.server, args.out, instances=args.instances, max_tiles=args.max_tiles)
    models = [bundle.served_name(stage) for stage in bundle.manifest.artefacts]
    if args.json:
        print_json({"repository": str(folder), "server": args.server, "models": models})
        return 0
    print(f"{folder}: {', '.join(models)}")
    if args.server == "triton":
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
    return 0
