"""Networks by transformers' classes: their raw output, local checkpoints, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers

from edgedepth.core.errors import OptionError, UnsupportedError, WeightsError, WeightsMismatchError
from edgedepth.models.loading import load_model
from edgedepth.models.registry import MODELS
from edgedepth.models.relative import RelativeDepth, Rsa, build_network, load_network
from edgedepth.models.relative_config import RelativeConfig, RsaConfig
from edgedepth.models.relative_random import probe_picture, random_network
from edgedepth.models.relative_stages import RelativeStage

from .miniatures import NETWORKS

TINY = NETWORKS["depth-anything-tiny"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "depth-anything"
    random_network(TINY, 3).save_pretrained(path)  # type: ignore[operator]
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_the_output_is_transformers_own_untouched(name: str) -> None:
    config = NETWORKS[name]
    network = random_network(config, 0)
    picture = probe_picture(config.preprocess.shape)
    with torch.inference_mode():
        theirs = network(pixel_values=picture).predicted_depth
        ours = RelativeDepth(network)(picture)
        (staged,) = RelativeStage(RelativeDepth(network), config.preprocess.shape)(picture)
    assert ours.shape == (1, 1, *config.preprocess.shape)
    assert torch.equal(ours[:, 0], theirs)
    assert theirs.std() > 1  # there is something to compare
    torch.testing.assert_close(staged, ours, rtol=1e-5, atol=1e-4)  # of values near 12: attention in another order


def test_stages_do_not_change_the_reference() -> None:
    network = random_network(TINY, 0)
    before = network.config.to_dict(), network.backbone.config._attn_implementation  # type: ignore[union-attr,operator]
    stage = RelativeStage(RelativeDepth(network), TINY.preprocess.shape)
    assert (network.config.to_dict(), network.backbone.config._attn_implementation) == before  # type: ignore[union-attr,operator]
    theirs = {id(parameter) for parameter in network.parameters()}
    added = [name for name, parameter in stage.named_parameters() if id(parameter) not in theirs]
    assert [name.split(".", 3)[-1] for name in added] == ["embeddings.fixed_positions.positions"]  # nothing is copied


@pytest.mark.parametrize("entry", [e for e in MODELS.values() if e.family in ("relative", "rsa")], ids=lambda e: e.name)
def test_published_networks_take_their_input_and_give_its_size(entry: object) -> None:
    config = entry.config  # type: ignore[attr-defined]
    network = config.relative if isinstance(config, RsaConfig) else config
    height, width = network.preprocess.shape
    with torch.device("meta"):  # shapes only
        built = build_network(network)
        if built.config.model_type == "dpt" and built.config.backbone_config is not None:
            return  # its position tables can't be made on meta; sizes are those of test_registry
        relative = RelativeDepth(built)(torch.empty(1, 3, height, width))
    assert relative.shape == (1, 1, height, width)


def test_preprocessing_is_pinned() -> None:
    rsa = MODELS["rsa-depth-anything"].config
    assert isinstance(rsa, RsaConfig)
    assert rsa.relative.preprocess.shape == (434, 560)
    assert rsa.relative.preprocess.mean == (0.485, 0.456, 0.406)
    kitti, midas = MODELS["rsa-depth-anything-kitti"].config, MODELS["midas-swin2-large"].config
    assert isinstance(kitti, RsaConfig)
    assert isinstance(midas, RelativeConfig)
    assert kitti.relative.preprocess.shape == (350, 1204)
    assert (midas.preprocess.shape, midas.preprocess.mean) == ((384, 384), (0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match="multiples of 14"):
        RelativeConfig(model_type="depth_anything", preprocess=midas.preprocess, multiple=14)


def test_a_local_checkpoint_loads_by_its_path_with_its_own_sizes(folder: Path) -> None:
    loaded = load_model("depth-anything-tiny", str(folder))
    assert isinstance(loaded.module, Rsa)
    expected = random_network(TINY, 3).state_dict()
    found = loaded.module.relative.network.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert loaded.spec.source == "local relative=depth-anything"
    assert loaded.spec.kind == "relative_inverse"
    assert loaded.spec.trained
    # the full-size model takes the same folder: sizes are those of its config.json
    assert load_network(folder, MODELS["depth-anything-small"].config).config.fusion_hidden_size == 16  # type: ignore[arg-type,union-attr]


def test_a_network_whose_output_is_metric_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "metric")
    facts = json.loads((folder / "config.json").read_text())
    (tmp_path / "metric" / "config.json").write_text(json.dumps(facts | {"depth_estimation_type": "metric"}))
    with pytest.raises(UnsupportedError, match="not raw relative depth"):
        load_network(tmp_path / "metric", TINY)


def test_other_architectures_and_damaged_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatchError, match="is a depth_anything; this model is a dpt"):
        load_network(folder, NETWORKS["dpt-tiny"])
    with pytest.raises(WeightsError, match=r"no config\.json"):
        load_network(tmp_path, TINY)
    shutil.copy(folder / "config.json", tmp_path)
    with pytest.raises(WeightsError, match="can't be loaded"):
        load_network(tmp_path, TINY)
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(WeightsError, match="can't be loaded"):
        load_network(tmp_path, TINY)
    with pytest.raises(WeightsError, match="there is no"):
        load_model("depth-anything-tiny", str(tmp_path / "nowhere"))


def test_weights_that_nobody_named_or_that_are_misnamed() -> None:
    with pytest.raises(WeightsError, match="not downloaded by edgedepth") as caught:
        load_model("rsa-tiny")
    assert "relative=FOLDER,text=PATH,head=PATH" in caught.value.remedy
    for wrong in ("relative=a,text=b", "somewhere", "relative=a,text=b,head=", "relative=a,text=b,heads=c"):
        with pytest.raises(OptionError, match="three parts"):
            load_model("rsa-tiny", wrong)
    with pytest.raises(OptionError, match="seed"):
        load_model("rsa-tiny", "relative=random:x,text=random:0,head=random:0")


def test_random_weights_are_the_seeds_and_captions_differ() -> None:
    first, again, other = (load_model("rsa-tiny", f"random:{seed}").spec for seed in (0, 0, 1))
    assert first == again
    assert first.weights_sha256 != other.weights_sha256
    assert not first.trained
    assert first.relative is not None
    assert first.relative.typical == pytest.approx(12, rel=0.1)


def test_a_head_for_another_text_width_is_refused(tmp_path: Path) -> None:
    config = transformers.CLIPTextConfig(
        hidden_size=32, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2, projection_dim=512
    )
    transformers.CLIPTextModelWithProjection(config).save_pretrained(tmp_path / "text")
    torch.save(load_model("rsa-tiny", "random:0").module.head.state_dict(), tmp_path / "head")  # type: ignore[union-attr]
    with pytest.raises(WeightsMismatchError, match="1024 channels; this text encoder gives 512"):
        load_model("rsa-tiny", f"relative=random:0,text={tmp_path / 'text'},head={tmp_path / 'head'}")
