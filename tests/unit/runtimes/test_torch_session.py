"""The reference behind the contract: its own stages and weights, its devices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgedepth.core.errors import DeviceError, OptionError, StageError
from edgedepth.core.spec import StageSpec, TensorSpec
from edgedepth.models.loading import LoadedModel
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.torch_session import TorchSession, reference_stages, torch_device

STAGE = StageSpec(
    name="toy",
    inputs=(TensorSpec(name="x", dtype="float32", shape=(2,)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=(2,)),),
)


def test_it_runs_the_models_own_weights(tiny: LoadedModel) -> None:
    open_stage = reference_stages(tiny, SessionOptions(device="cpu"))
    stage = tiny.spec.stage("image_encoder")
    feeds = {"image": np.random.default_rng(0).random(stage.inputs[0].shape, dtype=np.float32)}  # type: ignore[arg-type]
    results = open_stage("image_encoder").run(feeds)
    with torch.no_grad():
        tokens = tiny.module.encoder.image_encoder(torch.from_numpy(feeds["image"]))[-1]
    np.testing.assert_array_equal(results["image_features"].reshape(tokens[:, 1:].shape), tokens[:, 1:].numpy())


def test_every_stage_and_the_whole_can_be_opened(tiny: LoadedModel) -> None:
    open_stage = reference_stages(tiny)
    for stage in tiny.spec.stages:
        assert open_stage(stage.name).inputs == stage.inputs
    assert [spec.name for spec in open_stage("whole").outputs] == ["canonical_inverse_depth", "fov_deg"]
    with pytest.raises(StageError, match=r"no stage 'head'; it has patch_encoder"):
        open_stage("head")


@pytest.mark.parametrize(
    "returned",
    [
        lambda x: (x.double(),),
        lambda x: (x[:1],),
        lambda x: (x, x),
        lambda x: (),
    ],
    ids=["dtype", "broadcastable shape", "one more", "none"],
)
def test_a_module_that_returns_something_else_is_caught(returned: object) -> None:
    class Lying(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> object:
            return returned(x)  # type: ignore[operator]

    with pytest.raises(StageError, match="declares"):
        TorchSession(Lying(), STAGE).run({"x": np.ones(2, np.float32)})


def test_devices() -> None:
    assert torch_device("cpu") == torch.device("cpu")
    with pytest.raises(OptionError, match="tpu"):
        torch_device("tpu")
    if torch.cuda.is_available():
        assert torch_device("auto").type == "cuda"
    else:
        assert torch_device("auto").type == "cpu"
        with pytest.raises(DeviceError, match="sees 0 CUDA devices"):
            torch_device("cuda")


def test_threads_are_set(tiny: LoadedModel) -> None:
    before = torch.get_num_threads()
    try:
        reference_stages(tiny, SessionOptions(device="cpu", threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
