"""The reference against an independent implementation: transformers' DepthProForDepthEstimation.

transformers writes the checkpoint under the names of apple/DepthPro-hf and load_checkpoint reads it, so the
loader's renaming is proven by the same comparison.
"""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from edgedepth.models.checkpoints import load_checkpoint
from edgedepth.models.depth_pro_config import DEPTH_PRO_MINI, DepthProConfig

transformers = pytest.importorskip("transformers", reason="the independent implementation")

CONFIGS = {
    # the published tile, grid of 24 and paddings of 3 and 6
    "published-grid": DepthProConfig(
        width=32,
        depth=3,
        heads=2,
        patch=16,
        tile=384,
        hooks=(0, 1),
        feature_dims=(8, 12, 16, 16),
        decoder_width=8,
    ),
    # grid 8, paddings 1 and 2
    "mini": DEPTH_PRO_MINI,
}


def peer_model(config: DepthProConfig) -> torch.nn.Module:
    """transformers' model of the same sizes. It ties latent1's inner width to the decoder's, so both must agree."""
    assert config.feature_dims[0] == config.decoder_width
    vit = {
        "model_type": "dinov2",
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "image_size": config.tile,
        "patch_size": config.patch,
    }
    _, level0, level1, level2 = config.feature_dims
    settings = transformers.DepthProConfig(
        patch_size=config.tile,
        fusion_hidden_size=config.decoder_width,
        intermediate_hook_ids=[config.hooks[1], config.hooks[0]],
        intermediate_feature_dims=[config.decoder_width, config.decoder_width],
        scaled_images_feature_dims=[level2, level1, level0],
        merge_padding_value=config.grid // 8,
        use_fov_model=True,
        image_model_config=dict(vit),
        patch_model_config=dict(vit),
        fov_model_config=dict(vit),
    )
    return transformers.DepthProForDepthEstimation(settings).eval()


@torch.no_grad()
def condition(model: torch.nn.Module, side: int, seed: int) -> None:
    """Weights under which every layer matters and neither output is 0 or clamped; by transformers' own names."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if name.endswith("lambda1"):
            weight.uniform_(0.1, 0.5, generator=generator)
        elif "norm" in name and name.endswith("weight"):
            weight.uniform_(0.7, 1.3, generator=generator)
        elif weight.ndim >= 2 and "embeddings." not in name:
            fan_in = weight.shape[0] if "deconv" in name else weight[0].numel()
            weight.normal_(std=math.sqrt(0.8 / fan_in), generator=generator)
        else:
            weight.normal_(std=0.2, generator=generator)
    fov_last = model.get_submodule("fov_model.head.layers.4")
    fov_last.weight *= 5.0 / fov_last.weight.norm()
    fov_last.bias.fill_(55.0)
    # the depth head's last layer is scaled by what it gives on a picture, far above its ReLU's corner
    depth_last = model.get_submodule("head.layers.4")
    depth_last.bias.fill_(100.0)
    probe = model(pixel_values=smooth_images(1, side, seed=seed)).predicted_depth
    scale = 0.25 / probe.std()
    depth_last.weight *= scale
    depth_last.bias.fill_(1.0 + scale * (100.0 - probe.mean()))


def smooth_images(count: int, side: int, seed: int) -> torch.Tensor:
    """Pictures with structure at every scale, in -1..1."""
    generator = torch.Generator().manual_seed(seed)
    picture = torch.zeros(count, 3, side, side)
    for cells in (2, 5, 16, 64, side):
        noise = torch.randn(count, 3, cells, cells, generator=generator)
        picture += F.interpolate(noise, size=(side, side), mode="bilinear") / math.log2(cells + 2)
    return torch.tanh(picture)


@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_agree_on_shared_weights(name: str, tmp_path: Path) -> None:
    config = CONFIGS[name]
    peer = peer_model(config)
    condition(peer, config.input_size, seed=7)
    peer.save_pretrained(tmp_path)
    model = load_checkpoint(tmp_path, config)

    images = smooth_images(2, config.input_size, seed=3)
    with torch.no_grad():
        inverse_depth, fov_deg = model(images)
        expected = peer(pixel_values=images)

    # First that the comparison means something: nothing clamped, much to differ in, and two different answers.
    reference = expected.predicted_depth[:, None]
    assert reference.shape == (2, 1, config.input_size, config.input_size)
    assert (reference > 0).float().mean() > 0.99
    assert reference.std() / reference.mean() > 0.1
    assert (reference[0] - reference[1]).abs().mean() / reference.mean() > 0.01

    # fp32 sums in another order: 1e-5 of the depth's own size, and of its mean where it comes near 0.
    error = (inverse_depth - reference).abs() / reference.clamp(min=0.1 * reference.mean().item())
    assert error.max() <= 1e-5
    assert ((fov_deg.flatten() - expected.field_of_view) / expected.field_of_view).abs().max() <= 1e-5


def test_shards_load_like_one_file(tmp_path: Path) -> None:
    config = CONFIGS["published-grid"]
    peer = peer_model(config)
    condition(peer, config.input_size, seed=1)
    peer.save_pretrained(tmp_path / "one")
    peer.save_pretrained(tmp_path / "many", max_shard_size="100KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1

    one, many = (load_checkpoint(tmp_path / kind, config).state_dict() for kind in ("one", "many"))

    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)
