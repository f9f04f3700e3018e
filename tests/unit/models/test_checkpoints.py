"""Checkpoints: what loads, byte for byte, and what is refused in words."""

import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edgedepth.core.errors import OutputError, UnsupportedError, WeightsError, WeightsMismatchError
from edgedepth.models.checkpoint_names import hugging_face_names
from edgedepth.models.checkpoints import load_checkpoint, save_checkpoint, weights_sha256
from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_config import DepthProConfig
from edgedepth.models.random_init import random_depth_pro

CONFIG = DepthProConfig(
    width=32,
    depth=3,
    heads=2,
    patch=16,
    tile=128,
    hooks=(0, 1),
    feature_dims=(16, 24, 32, 40),
    decoder_width=16,
)

Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def model() -> DepthPro:
    return random_depth_pro(CONFIG, seed=0)


@pytest.fixture
def weights(model: DepthPro) -> Weights:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def as_hugging_face(weights: Weights) -> Weights:
    renamed: Weights = {}
    for name, weight in weights.items():
        sources = hugging_face_names(name)
        renamed.update(zip(sources, (part.clone() for part in weight.chunk(len(sources))), strict=True))
    return renamed


# --- what loads


def assert_same(loaded: DepthPro, expected: Weights) -> None:
    found = loaded.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name].float()) for name in expected)
    assert {weight.dtype for weight in found.values()} == {torch.float32}
    assert not loaded.training
    assert not any(weight.requires_grad for weight in loaded.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.bfloat16])
def test_published_names_in_a_torch_file(weights: Weights, dtype: torch.dtype, tmp_path: Path) -> None:
    stored = {name: weight.to(dtype) for name, weight in weights.items()}
    torch.save(stored, tmp_path / "depth_pro.pt")

    assert_same(load_checkpoint(tmp_path / "depth_pro.pt", CONFIG), stored)
    assert_same(load_checkpoint(tmp_path, CONFIG), stored)


def test_the_torch_format_of_old(weights: Weights, tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "old.pt", _use_new_zipfile_serialization=False)

    assert_same(load_checkpoint(tmp_path / "old.pt", CONFIG), weights)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_what_save_checkpoint_wrote(model: DepthPro, weights: Weights, dtype: torch.dtype, tmp_path: Path) -> None:
    save_checkpoint(model, tmp_path / "new" / "weights.bin", dtype)

    assert {w.dtype for w in load_file(tmp_path / "new" / "weights.bin").values()} == {dtype}
    stored = {name: weight.to(dtype) for name, weight in weights.items()}
    assert_same(load_checkpoint(tmp_path / "new" / "weights.bin", CONFIG), stored)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["weights.bin"]


def test_the_kind_is_told_by_content_and_not_by_the_name(weights: Weights, tmp_path: Path) -> None:
    save_file(weights, tmp_path / "really_safetensors.pt")
    torch.save(weights, tmp_path / "really_torch.safetensors")

    assert_same(load_checkpoint(tmp_path / "really_safetensors.pt", CONFIG), weights)
    assert_same(load_checkpoint(tmp_path / "really_torch.safetensors", CONFIG), weights)


def test_hugging_face_names_with_the_mask_tokens_that_nothing_reads(weights: Weights, tmp_path: Path) -> None:
    stored = as_hugging_face(weights)
    for vit in ("depth_pro.encoder.patch_encoder.model", "fov_model.fov_encoder.model"):
        stored[f"{vit}.embeddings.mask_token"] = torch.zeros(1, CONFIG.width)
    save_file(stored, tmp_path / "model.safetensors")

    assert_same(load_checkpoint(tmp_path, CONFIG), weights)


def sharded(weights: Weights, folder: Path) -> Path:
    names = sorted(weights)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, held in shards.items():
        save_file({name: weights[name] for name in held}, folder / file)
    index = folder / "model.safetensors.index.json"
    weight_map = {name: file for file, held in shards.items() for name in held}
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


def test_shards_by_folder_and_by_index(weights: Weights, tmp_path: Path) -> None:
    index = sharded(as_hugging_face(weights), tmp_path)

    assert_same(load_checkpoint(tmp_path, CONFIG), weights)
    assert_same(load_checkpoint(index, CONFIG), weights)


def test_a_loaded_model_does_not_hang_on_its_file(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(weights, path)
    loaded = load_checkpoint(path, CONFIG)

    with path.open("r+b") as file:
        file.truncate(0)

    assert_same(loaded, weights)


_MEASURE = r"""
import re, sys
from pathlib import Path
from edgedepth.models.checkpoints import load_checkpoint
from edgedepth.models.depth_pro_config import DepthProConfig

def peak_bytes():
    return 1024 * int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])

before = peak_bytes()
model = load_checkpoint(Path(sys.argv[1]), DepthProConfig(**eval(sys.argv[2])))
print((peak_bytes() - before) / sum(4 * weight.numel() for weight in model.parameters()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_loading_never_holds_the_model_twice(dtype: torch.dtype, tmp_path: Path) -> None:
    wide = {"width": 768, "depth": 3, "heads": 12, "patch": 16, "tile": 128, "hooks": (0, 1)}
    wide |= {"feature_dims": (64, 96, 128, 128), "decoder_width": 64}
    save_checkpoint(random_depth_pro(DepthProConfig(**wide), 0), tmp_path / "w", dtype)

    measured = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(tmp_path / "w"), repr(wide)],
        check=True,
        capture_output=True,
        text=True,
    )

    # 1 is the model itself; the rest is one tensor as read (a twelfth of this model) and the allocator's slack
    assert 1.0 <= float(measured.stdout) < 1.5


# --- what is refused


def refused(path: Path, kind: type[WeightsError] = WeightsError) -> str:
    with pytest.raises(kind) as caught:
        load_checkpoint(path, CONFIG)
    assert type(caught.value) is kind
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    return caught.value.problem


def test_missing_unexpected_and_misshapen_tensors_are_told_apart(weights: Weights, tmp_path: Path) -> None:
    for name in ("head.0.weight", "head.0.bias", "fov.head.0.weight", "fov.head.0.bias"):
        del weights[name]
    weights["head.9.weight"] = torch.zeros(3)
    weights["encoder.fuse_lowres.weight"] = torch.zeros(40, 80)
    torch.save(weights, tmp_path / "w.pt")

    problem = refused(tmp_path / "w.pt", WeightsMismatchError)

    assert "4 missing: head.0.weight, head.0.bias, fov.head.0.weight, …" in problem
    assert "1 unexpected: head.9.weight" in problem
    assert "1 of another shape: encoder.fuse_lowres.weight (expected (40, 80, 1, 1), got (40, 80))" in problem


def test_shapes_under_hugging_face_names_are_those_of_the_file(weights: Weights, tmp_path: Path) -> None:
    stored = as_hugging_face(weights)
    key = "depth_pro.encoder.patch_encoder.model.encoder.layer.0.attention.attention.key.weight"
    stored[key] = torch.zeros(32, 31)
    save_file(stored, tmp_path / "w")

    problem = refused(tmp_path / "w", WeightsMismatchError)

    assert f"1 of another shape: {key} (expected (32, 32), got (32, 31))" in problem
    assert "missing" not in problem


def test_a_depth_pro_of_another_size(tmp_path: Path) -> None:
    deeper = DepthProConfig(
        width=48,
        depth=4,
        heads=3,
        patch=16,
        tile=128,
        hooks=(0, 1),
        feature_dims=(16, 24, 32, 40),
        decoder_width=16,
    )
    save_checkpoint(random_depth_pro(deeper, 0), tmp_path / "w")

    problem = refused(tmp_path / "w", WeightsMismatchError)

    assert f"{3 * 14} unexpected: encoder.image_encoder.blocks.3" in problem
    assert "encoder.upsample0.0.weight (expected (24, 32, 1, 1), got (24, 48, 1, 1))" in problem
    assert "missing" not in problem


def test_another_models_checkpoint_is_recognised(tmp_path: Path) -> None:
    save_file({f"backbone.layer{i}.weight": torch.zeros(2) for i in range(9)}, tmp_path / "w")

    problem = refused(tmp_path / "w", WeightsMismatchError)

    assert "a checkpoint of another model: it has 0 of Depth Pro's" in problem
    assert "backbone.layer0.weight" in problem


def test_integers_are_no_weights(weights: Weights, tmp_path: Path) -> None:
    weights["head.4.weight"] = torch.ones(1, 32, 1, 1, dtype=torch.int8)
    save_file(weights, tmp_path / "w")

    assert "head.4.weight" in refused(tmp_path / "w", WeightsMismatchError)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite(weights: Weights, bad: float, tmp_path: Path) -> None:
    weights["fov.head.4.bias"][0] = bad
    save_file(weights, tmp_path / "w")

    assert "fov.head.4.bias" in refused(tmp_path / "w")


class RunsCode:
    """A pickle of it makes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_pickle_that_runs_code_is_refused_and_runs_none(weights: Weights, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    evil = {**weights, "more": RunsCode(ran)}
    torch.save(evil, tmp_path / "zip.pt")
    torch.save(evil, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(evil, protocol=2))
    pickle.loads((tmp_path / "plain.pkl").read_bytes())
    assert ran.exists(), "the trap itself works"
    ran.unlink()

    for name in ("zip.pt", "old.pt", "plain.pkl"):
        assert "nothing in it was run" in refused(tmp_path / name)

    assert not ran.exists()


@pytest.mark.parametrize("content", [{"weights": {"a": torch.zeros(1)}}, [torch.zeros(1)], torch.zeros(1)])
def test_a_torch_file_of_something_else(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")

    assert "a state_dict" in refused(tmp_path / "w.pt")


@pytest.mark.parametrize("kept", [3, 9, 20, 100, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_truncated_files(weights: Weights, kind: str, kept: float, tmp_path: Path) -> None:
    path = tmp_path / "w"
    if kind == "safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])

    assert str(path) in refused(path)


def test_a_corrupt_safetensors_header(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "w"
    save_file(weights, path)
    content = path.read_bytes()
    path.write_bytes(content[:9] + b"\xff" * 40 + content[49:])

    assert "damaged or truncated safetensors" in refused(path)


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    text, pointer, empty, archive = (tmp_path / name for name in ("a.pt", "b.pt", "c.pt", "d.pt"))
    text.write_text("<!DOCTYPE html><title>Sign in</title>")
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    empty.touch()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("readme.txt", "no tensors")

    assert "begins with b'<!DOCTYPE html><" in refused(text)
    assert "Git LFS pointer" in refused(pointer)
    assert "is empty" in refused(empty)
    assert "damaged or truncated torch file" in refused(archive)


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    assert "no checkpoint at" in refused(tmp_path / "absent.pt")
    assert "holds no checkpoint" in refused(tmp_path)


@pytest.mark.parametrize("text", ["{", '{"a": 1}', '{"weight_map": 3}', '{"weight_map": {"a": "../w"}}', "{}"])
def test_bad_indexes(text: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(text)

    assert "is not an index of shards" in refused(tmp_path / "index.json")


def test_shards_that_are_not_there_or_not_whole(weights: Weights, tmp_path: Path) -> None:
    index = sharded(weights, tmp_path)
    first = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": {**first, "head.9.weight": "model-2.safetensors"}}))
    assert "head.9.weight" in refused(index)

    (tmp_path / "model-2.safetensors").unlink()
    assert "no checkpoint at" in refused(index)


# --- writing and naming


def test_saving_where_nothing_can_be_written(model: DepthPro, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(OutputError, match="can't be written"):
        save_checkpoint(model, tmp_path / "file" / "w.safetensors")
    with pytest.raises(OutputError, match="can't be written"):
        save_checkpoint(model, tmp_path)


def test_saving_refuses_what_fp16_cannot_hold_and_leaves_the_old_file(tmp_path: Path) -> None:
    model = random_depth_pro(CONFIG, seed=0)
    save_checkpoint(model, tmp_path / "w")
    before = (tmp_path / "w").read_bytes()
    model.head[0].bias.data.fill_(1e6)

    with pytest.raises(UnsupportedError, match=r"head\.0\.bias"):
        save_checkpoint(model, tmp_path / "w", torch.float16)

    assert (tmp_path / "w").read_bytes() == before


def test_saving_twice_gives_the_same_bytes(model: DepthPro, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_checkpoint(model, tmp_path / name)

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_hash_of_weights_sees_one_bit_and_not_the_way_they_came(model: DepthPro, tmp_path: Path) -> None:
    save_checkpoint(model, tmp_path / "w")
    loaded = load_checkpoint(tmp_path / "w", CONFIG)
    assert weights_sha256(loaded) == weights_sha256(model)

    loaded.head[4].bias.data.view(torch.int32).bitwise_xor_(1)
    assert weights_sha256(loaded) != weights_sha256(model)


def test_the_hash_of_weights_keeps_its_value() -> None:
    tiny = torch.nn.Linear(2, 1)
    with torch.no_grad():
        tiny.weight.copy_(torch.tensor([[1.0, 2.0]]))
        tiny.bias.fill_(3.0)

    # sha256 of "bias torch.float32 (1,)\n" 00004040 "weight torch.float32 (1, 2)\n" 0000803f 00000040, by hashlib
    assert weights_sha256(tiny) == "4297e6beae3ec2a06621cdd1bbef61b41b1479a53926f2be87e4462e459fa594"
