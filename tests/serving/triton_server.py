"""NVIDIA's Triton, from its PyPI wheel (nvidia-pytriton), serving a bundle's stages with onnxruntime behind them.

The wheel holds the server with its Python backend alone, so the models' configuration is pytriton's and not the
repository's; protocol, scheduler and dynamic batching are Triton's own. Run by a Python that has both packages, since
pytriton asks for numpy 1:

    PYTHON tests/serving/triton_server.py BUNDLE GRPC_PORT READY_FILE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def serve(bundle: Path, port: int, ready: Path) -> None:
    """Serve until killed; makes a file once it can."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    config = TritonConfig(grpc_port=port, http_port=port + 1, metrics_port=port + 2, exit_on_error=True)
    with Triton(config=config) as triton:
        for name, artefact in manifest["artefacts"].items():
            stage = artefact["stage"]
            batched = all(isinstance(tensor["shape"][0], str) for tensor in stage["inputs"] + stage["outputs"])
            triton.bind(
                model_name=f"{manifest['model']['name']}-{name}",
                infer_func=inference(bundle / artefact["path"], batched=batched),
                inputs=[described(tensor, batched=batched) for tensor in stage["inputs"]],
                outputs=[described(tensor, batched=batched) for tensor in stage["outputs"]],
                config=ModelConfig(
                    batching=batched, max_batch_size=35, batcher=DynamicBatcher(max_queue_delay_microseconds=2000)
                ),
                strict=False,
            )
        triton.run()
        ready.touch()
        sys.stdin.read()


def described(tensor: dict[str, Any], *, batched: bool) -> Tensor:
    shape = tensor["shape"][1:] if batched else tensor["shape"]
    return Tensor(name=tensor["name"], dtype=np.dtype(tensor["dtype"]).type, shape=tuple(shape))


def inference(path: Path, *, batched: bool) -> Any:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(**feeds: Any) -> dict[str, Any]:
        return dict(zip(names, session.run(names, feeds), strict=True))

    def one_by_one(requests: list[Any]) -> list[dict[str, Any]]:
        return [run(**dict(request.data)) for request in requests]

    return batch(run) if batched else one_by_one


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
