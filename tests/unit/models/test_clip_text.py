"""The text encoder against transformers' own on shared random weights, and every form its weights come in."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from edgedepth.core.errors import WeightsError, WeightsMismatchError
from edgedepth.models.clip_text import ClipText, load_clip_text
from edgedepth.models.clip_text_config import CLIP_RN50_TEXT, CLIP_VIT_L_TEXT, ClipTextConfig, text_encoder_stage

TINY = ClipTextConfig(width=32, heads=4, layers=2, projection=48, context=20, vocabulary=300)
END = TINY.vocabulary - 1


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """transformers' text encoder, random, with biases and norms that aren't zeros and ones."""
    transformers = pytest.importorskip("transformers", reason="parity needs transformers' own implementation")
    config = transformers.CLIPTextConfig(
        vocab_size=TINY.vocabulary,
        hidden_size=TINY.width,
        intermediate_size=4 * TINY.width,
        num_hidden_layers=TINY.layers,
        num_attention_heads=TINY.heads,
        max_position_embeddings=TINY.context,
        projection_dim=TINY.projection,
        eos_token_id=END,
        bos_token_id=END - 1,
    )
    torch.manual_seed(7)
    model: nn.Module = transformers.CLIPTextModelWithProjection(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def folder(theirs: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "text"
    theirs.save_pretrained(path)  # type: ignore[operator]
    return path


@pytest.fixture(scope="module")
def ours(folder: Path) -> ClipText:
    return load_clip_text(folder, TINY)


def captions() -> Iterator[torch.Tensor]:
    """Rows of ids of several lengths, the longest one full."""
    generator = torch.Generator().manual_seed(3)
    for length in (0, 1, 7, TINY.context - 2):
        row = torch.zeros(1, TINY.context, dtype=torch.int32)
        words = torch.randint(0, END - 1, (length,), generator=generator, dtype=torch.int32)
        row[0, : length + 2] = torch.tensor([END - 1, *words.tolist(), END], dtype=torch.int32)
        yield row


def test_features_are_transformers(ours: ClipText, theirs: nn.Module) -> None:
    for tokens in captions():
        with torch.inference_mode():
            expected = theirs(input_ids=tokens.long()).text_embeds
            found = ours(tokens)
        assert found.shape == (1, TINY.projection)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)  # kernels add in another order


def test_features_are_raw_and_what_follows_the_end_is_not_seen(ours: ClipText) -> None:
    tokens = next(iter(list(captions())[2:]))
    features = ours(tokens)
    assert not torch.allclose(features.norm(), torch.ones(()), atol=0.05)
    changed = tokens.clone()
    changed[0, 9:] = 5
    torch.testing.assert_close(ours(changed), features)


def openai_state(model: ClipText) -> dict[str, torch.Tensor]:
    """As OpenAI's file has it: with the picture's half."""
    extra = {"visual.conv1.weight": torch.ones(2, 3, 3, 3), "logit_scale": torch.ones(())}
    return {**model.state_dict(), **extra}


def test_a_state_dict_with_openais_names_loads(ours: ClipText, tmp_path: Path) -> None:
    torch.save({name: t.half() for name, t in openai_state(ours).items()}, tmp_path / "clip.pt")
    loaded = load_clip_text(tmp_path / "clip.pt", TINY)
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor.half().float(), rtol=0, atol=0)


@pytest.fixture
def archive(ours: ClipText, tmp_path: Path) -> Path:
    """A TorchScript archive, which is what OpenAI publishes."""
    path = tmp_path / "RN50.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript old
        torch.jit.save(torch.jit.trace(ours, next(captions())), path)
    return path


def test_a_torchscript_archive_loads_and_is_not_run(archive: Path, ours: ClipText) -> None:
    loaded = load_clip_text(archive, TINY)
    for name, tensor in ours.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_a_damaged_archive_is_refused(archive: Path) -> None:
    content = bytearray(archive.read_bytes())
    at = content.find(b"\x80\x02")  # where data.pkl begins
    content[at : at + 40] = bytes(40)
    archive.write_bytes(content)
    with pytest.raises(WeightsError, match="RN50"):
        load_clip_text(archive, TINY)


def test_other_sizes_and_other_models_are_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatchError, match=r"text_projection.weight \(expected \(1024, 512\)"):
        load_clip_text(folder, CLIP_RN50_TEXT)
    safetensors.torch.save_file({"something.else": torch.ones(3)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsMismatchError, match="another model"):
        load_clip_text(tmp_path / "other.safetensors", TINY)


def test_published_sizes() -> None:
    with torch.device("meta"):
        counts = {config: sum(p.numel() for p in ClipText(config).parameters()) for config in (CLIP_RN50_TEXT,)}
    # embeddings 49408 * 512 + 77 * 512, 12 blocks of 12 * 512² + 13 * 512, a norm, the projection 512 * 1024
    assert counts[CLIP_RN50_TEXT] == 25_296_896 + 39_424 + 12 * 3_152_384 + 1024 + 524_288
    stage = text_encoder_stage(CLIP_VIT_L_TEXT)
    assert stage.inputs[0].shape == (1, 77)
    assert stage.outputs[0].shape == (1, 768)
