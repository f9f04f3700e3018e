"""Model repositories, and a client against a real Triton server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgedepth import EdgeDepth
from edgedepth.cli import main
from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.errors import DeviceError, OptionError, OutputError, UnsupportedError
from edgedepth.core.store import bundles_folder
from edgedepth.models.loading import LoadedModel
from edgedepth.serving import write_repository

pytest.importorskip("tritonclient.grpc", reason="tritonclient (the extra serve) has the schema and the client")

HERE = Path(__file__).parent
PYTHON = os.environ.get("EDGEDEPTH_TRITON_PYTHON")
"""A Python with nvidia-pytriton and onnxruntime: they ask for numpy 1, so they have an environment of their own."""


@pytest.fixture(scope="module")
def dynamic(exported: Callable[..., Path]) -> Bundle:
    """The mini, for any tile batch."""
    return open_bundle(exported("--model", "depth-pro-mini", "--dynamic-batch"))


class TestTritonRepository:
    def test_each_stage_is_a_model_that_triton_understands(self, dynamic: Bundle, tmp_path: Path) -> None:
        from google.protobuf import text_format
        from tritonclient.grpc import model_config_pb2

        folder = write_repository(dynamic, "triton", tmp_path / "repository", instances=2)
        for stage, artefact in dynamic.manifest.artefacts.items():
            model = folder / dynamic.served_name(stage)
            config = text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
            assert config.name == model.name
            assert config.backend == "onnxruntime"
            assert (model / "1" / config.default_model_filename).is_file()
            assert [tensor.name for tensor in config.input] == [tensor.name for tensor in artefact.stage.inputs]
            assert [tensor.name for tensor in config.output] == [tensor.name for tensor in artefact.stage.outputs]
            assert config.instance_group[0].count == 2
            batched = stage == "patch_encoder"
            assert config.max_batch_size == (35 if batched else 0)
            assert config.HasField("dynamic_batching") == batched
            for tensor, declared in zip(config.input, artefact.stage.inputs, strict=True):
                assert list(tensor.dims) == list(declared.shape[1:] if batched else declared.shape)

    def test_the_artefacts_come_with_their_weights(self, dynamic: Bundle, tmp_path: Path) -> None:
        folder = write_repository(dynamic, "triton", tmp_path / "repository")
        for stage in dynamic.manifest.artefacts:
            there = {path.name: path.read_bytes() for path in (folder / dynamic.served_name(stage) / "1").iterdir()}
            assert there == {path.name: path.read_bytes() for path in (dynamic.path / stage).iterdir()}

    def test_a_fixed_tile_batch_is_not_batched_further(self, mini_bundle: Path, tmp_path: Path) -> None:
        folder = write_repository(open_bundle(mini_bundle), "triton", tmp_path / "repository")
        assert "max_batch_size" not in (folder / "depth-pro-mini-patch_encoder" / "config.pbtxt").read_text()


def test_ovms_repository(dynamic: Bundle, tmp_path: Path) -> None:
    folder = write_repository(dynamic, "ovms", tmp_path / "repository")
    models = json.loads((folder / "config.json").read_text())["model_config_list"]
    assert [model["config"]["name"] for model in models] == [
        dynamic.served_name(stage) for stage in dynamic.manifest.artefacts
    ]
    assert all((folder / Path(model["config"]["base_path"]).name / "1").is_dir() for model in models)


def test_somebodys_folder_stays_and_ours_is_replaced(dynamic: Bundle, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").touch()
    with pytest.raises(OutputError):
        write_repository(dynamic, "triton", mine)
    for server in ("triton", "ovms"):
        write_repository(dynamic, server, tmp_path / "repository")
    assert not list((tmp_path / "repository").rglob("config.pbtxt"))


def test_what_a_server_does_not_run(dynamic: Bundle, tmp_path: Path) -> None:
    from dataclasses import replace

    other = Bundle(dynamic.path, replace(dynamic.manifest, target="coreml"))
    with pytest.raises(UnsupportedError, match="this bundle is for coreml"):
        write_repository(other, "triton", tmp_path / "repository")
    with pytest.raises(OptionError, match="instances is 0"):
        write_repository(dynamic, "triton", tmp_path / "repository", instances=0)
    with pytest.raises(OptionError, match="queue_delay_us is -1"):
        write_repository(dynamic, "triton", tmp_path / "repository", queue_delay_us=-1)


class TestClient:
    def test_no_server(self, mini_bundle: Path) -> None:
        with pytest.raises(DeviceError, match="no server answers"):
            EdgeDepth(mini_bundle, backend="triton", url=f"127.0.0.1:{_free_port()}")

    @pytest.mark.parametrize("options", [{"backend": "triton"}, {"url": "host:8001"}])
    def test_a_url_and_the_backend_belong_together(self, mini_bundle: Path, options: dict[str, str]) -> None:
        with pytest.raises(OptionError, match="belong together"):
            EdgeDepth(mini_bundle, **options)  # type: ignore[arg-type]


class TestDouble:
    """The whole road, repository to depth, over the protocol that both servers speak."""

    def test_depth_through_a_repository_is_the_local_depth(self, dynamic: Bundle, tmp_path: Path) -> None:
        pytest.importorskip("grpc", reason="grpcio comes with tritonclient[grpc] and is what the double is made of")
        from .kserve_double import serving

        repository = write_repository(dynamic, "ovms", tmp_path / "repository", version=7)
        frame = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
        with EdgeDepth(dynamic.path, self_test="never") as local:
            expected = local.infer(frame)
        with (
            serving(repository) as (url, double),
            EdgeDepth(dynamic.path, backend="triton", url=url, self_test="never") as remote,
        ):
            result = remote.infer(frame)
        # The same kernels on the same numbers, in one process; without the arena they may sum in another order.
        assert np.allclose(result.depth, expected.depth, rtol=1e-4)
        assert result.fov_deg == pytest.approx(expected.fov_deg, abs=1e-3)
        assert set(double.calls) == {dynamic.served_name(stage) for stage in dynamic.manifest.artefacts}

    def test_what_a_server_lacks_or_refuses(self, dynamic: Bundle, tmp_path: Path) -> None:
        pytest.importorskip("grpc", reason="grpcio comes with tritonclient[grpc] and is what the double is made of")
        from .kserve_double import serving

        repository = write_repository(dynamic, "ovms", tmp_path / "repository")
        with serving(repository) as (url, double):
            remote = EdgeDepth(dynamic.path, backend="triton", url=url, self_test="never")
            decoder = double.models.pop(dynamic.served_name("decoder"))
            with pytest.raises(DeviceError, match="no model depth-pro-mini-decoder that is ready"):
                remote.infer(np.zeros((32, 32, 3), np.uint8))
            double.models[dynamic.served_name("decoder")] = double.models[dynamic.served_name("fov")]
            with pytest.raises(OptionError, match="the bundle declares"):
                remote.infer(np.zeros((32, 32, 3), np.uint8))
            double.models[dynamic.served_name("decoder")] = decoder
            remote.close()


@pytest.mark.parametrize("version", [0, -1])
def test_no_version(dynamic: Bundle, tmp_path: Path, version: int) -> None:
    with pytest.raises(OptionError, match=f"version is {version}"):
        write_repository(dynamic, "triton", tmp_path / "repository", version=version)


@pytest.mark.usefixtures("traced_once")
def test_export_and_repository_in_one_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], known_tiny: LoadedModel
) -> None:
    out = tmp_path / "repository"
    words = ["export", "--model", known_tiny.entry.name, "--weights", "random:0", "--dynamic-batch", "--out", str(out)]
    assert main([*words, "--target", "coreml", "--serve", "triton"]) == 2
    assert "takes onnx, openvino" in capsys.readouterr().err
    assert main([*words, "--serve", "triton", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    bundle = open_bundle(told["path"])
    assert bundle.path.parent == bundles_folder()
    assert told["models"] == [bundle.served_name(stage) for stage in bundle.manifest.artefacts]
    assert all((out / model / "config.pbtxt").is_file() for model in told["models"])
    assert main(["export", "--serve", "ovms"]) == 2
    assert "--out DIR" in capsys.readouterr().err


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(dynamic: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Triton's address."""
    if not PYTHON:
        pytest.skip("EDGEDEPTH_TRITON_PYTHON names no Python with nvidia-pytriton and onnxruntime: no real server here")
    port, ready = _free_port(), tmp_path_factory.mktemp("server") / "ready"
    command = [PYTHON, str(HERE / "triton_server.py"), str(dynamic.path), str(port), str(ready)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        patience = time.monotonic() + 180
        while not ready.exists():
            assert process.poll() is None
            assert time.monotonic() < patience
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
        process.terminate()


class TestRealTriton:
    def test_depth_through_a_server_is_the_local_depth(self, server: str, dynamic: Bundle) -> None:
        frame = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
        with EdgeDepth(dynamic.path, self_test="never") as local:
            expected = local.infer(frame)
        with EdgeDepth(dynamic.path, backend="triton", url=server) as remote:
            result = remote.infer(frame)
        assert result.backend == "triton"
        assert server in result.device
        # The same onnxruntime kernels; another version of it, and other batches, may sum in another order.
        assert np.allclose(result.depth, expected.depth, rtol=1e-4)
        assert result.fov_deg == pytest.approx(expected.fov_deg, abs=1e-3)

    def test_a_server_with_another_bundles_stages(self, server: str, mini_bundle: Path) -> None:
        # Same names; the fixed batch is a matter of sizes, which the server's answer shows.
        frame = np.zeros((32, 32, 3), np.uint8)
        with EdgeDepth(mini_bundle, backend="triton", url=server) as remote:
            assert np.isfinite(remote.infer(frame).depth).all()
