"""From a name to a model with weights and its spec."""

import dataclasses
import hashlib
import logging
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from edgedepth.core.errors import MissingExtraError, OptionError, WeightsError, WeightsMismatchError
from edgedepth.models import registry
from edgedepth.models.checkpoints import weights_sha256
from edgedepth.models.depth_pro_config import DEPTH_PRO_MINI, depth_pro_preprocess, depth_pro_stages, depth_pro_tiling
from edgedepth.models.loading import load_model
from edgedepth.models.random_init import random_depth_pro
from edgedepth.models.registry import model_entry
from edgedepth.models.weights import cached_path


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEDEPTH_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a mini, as its owner would have saved them."""
    path = tmp_path_factory.mktemp("checkpoint") / "trained.safetensors"
    save_file(random_depth_pro(DEPTH_PRO_MINI, seed=3).state_dict(), path)
    return path


@pytest.fixture
def published_mini(hub, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> registry.ModelEntry:
    """The mini as if its weights were published, on the hub on loopback."""
    hub.content = checkpoint.read_bytes()
    entry = dataclasses.replace(model_entry("depth-pro-mini"), weights=hub.source(), licence="Some licence")
    monkeypatch.setitem(registry.MODELS, "depth-pro-mini", entry)
    return entry


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_the_mini_is_a_demonstration_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="edgedepth"):
        model = load_model("depth-pro-mini")
    assert "depth-pro-mini is a demonstration" in caplog.text
    assert model.spec.trained
    assert model.spec.weights_sha256 == model.entry.weights.sha256
    assert model.spec.licence == "Apache-2.0"
    assert model.spec.source.startswith("edgedepth's own")


def test_a_damaged_package_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = model_entry("depth-pro-mini")
    assert isinstance(entry.weights, registry.ShippedWeights)
    other = dataclasses.replace(entry, weights=dataclasses.replace(entry.weights, sha256="0" * 64))
    monkeypatch.setitem(registry.MODELS, entry.name, other)
    with pytest.raises(WeightsError, match="is damaged") as caught:
        load_model("depth-pro-mini")
    assert "install edgedepth again" in caught.value.remedy


def test_random_weights_are_untrained_and_say_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="edgedepth"):
        model = load_model("depth-pro-mini", "random:0")
    assert "depth-pro-mini is untrained" in caplog.text
    assert not model.spec.trained
    assert model.spec.source == "random:0"
    assert model.spec.weights_sha256 == weights_sha256(model.module)
    assert same_weights(model.module, random_depth_pro(DEPTH_PRO_MINI, seed=0))


def test_the_spec_follows_from_the_config() -> None:
    model = load_model("depth-pro-mini")
    assert model.entry is model_entry("depth-pro-mini")
    assert model.spec.name == "depth-pro-mini"
    assert (model.spec.family, model.spec.kind) == ("depth-pro", "metric")
    assert model.spec.stages == depth_pro_stages(DEPTH_PRO_MINI)
    assert model.spec.preprocess == depth_pro_preprocess(DEPTH_PRO_MINI)
    assert model.spec.tiling == depth_pro_tiling(DEPTH_PRO_MINI)
    assert model.spec.parameters == model.entry.parameters


def test_the_module_is_a_reference() -> None:
    module = load_model("depth-pro-mini").module
    assert not module.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in module.parameters())


def test_a_seed_is_a_models_identity() -> None:
    first, again, other = (load_model("depth-pro-mini", f"random:{seed}") for seed in (1, 1, 2))
    assert first.spec == again.spec
    assert first.spec.weights_sha256 != other.spec.weights_sha256
    assert other.spec.source == "random:2"


def test_a_file_of_the_callers(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = load_model("depth-pro-mini", checkpoint)
    assert model.spec.trained
    assert model.spec.weights_sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert model.spec.source == "local trained.safetensors"  # no path: bundles travel
    assert model.spec.licence.startswith("not known")
    assert "untrained" not in caplog.text
    assert same_weights(model.module, random_depth_pro(DEPTH_PRO_MINI, seed=3))
    assert not model.module.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in model.module.parameters())


def test_a_folder_is_named_by_its_tensors(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to(checkpoint)
    model = load_model("depth-pro-mini", tmp_path)
    assert model.spec.weights_sha256 == weights_sha256(model.module)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file whose reading fails, for root too")
def test_a_file_that_cannot_be_read() -> None:
    with pytest.raises(WeightsError, match="can't be read"):
        load_model("depth-pro-mini", "/proc/self/mem")


def test_published_weights_from_the_network_into_a_model(hub, published_mini: registry.ModelEntry) -> None:
    told: list[str] = []
    model = load_model("depth-pro-mini", announce=told.append)
    assert "Some licence" in told[0]
    assert model.spec.trained
    assert model.spec.weights_sha256 == hub.source().sha256
    assert model.spec.licence == "Some licence"
    assert model.spec.source == f"somebody/some-depth@{'c' * 40}: model.safetensors"
    assert same_weights(model.module, random_depth_pro(DEPTH_PRO_MINI, seed=3))

    again = load_model("depth-pro-mini", download=False)
    assert again.spec == model.spec


def test_the_licence_is_in_the_log_when_nobody_listens(
    published_mini: registry.ModelEntry, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="edgedepth"):
        load_model("depth-pro-mini")
    assert "Some licence" in caplog.text


def test_the_published_file_is_known_wherever_it_lies(published_mini: registry.ModelEntry, checkpoint: Path) -> None:
    assert load_model("depth-pro-mini", checkpoint).spec.licence == "Some licence"


def test_a_flipped_bit_in_the_store_is_noticed(hub, published_mini: registry.ModelEntry) -> None:
    load_model("depth-pro-mini")
    path = cached_path("depth-pro-mini", hub.source())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="is damaged") as caught:
        load_model("depth-pro-mini")
    assert "delete it" in caught.value.remedy


def test_a_checkpoint_of_another_model(checkpoint: Path) -> None:
    with pytest.raises(WeightsMismatchError):
        load_model("depth-pro", checkpoint)


def test_an_unknown_name() -> None:
    with pytest.raises(OptionError, match="depth-pro, depth-pro-mini"):
        load_model("depth-por")


def test_a_bad_seed() -> None:
    with pytest.raises(OptionError, match="seed"):
        load_model("depth-pro-mini", "random:")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        load_model("depth-pro-mini", tmp_path / "nothing.pt")


def test_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # what Python itself does to forbid an import
    with pytest.raises(MissingExtraError) as caught:
        load_model("depth-pro-mini")
    assert caught.value.remedy == "pip install 'edgedepth[export]'"
