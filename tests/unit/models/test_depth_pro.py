"""The reference's size, tiling and inference, against literal facts of the published model."""

import math

import pytest
import torch
import torch.nn.functional as F

from edgedepth.core.errors import FrameError
from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_config import DEPTH_PRO, DEPTH_PRO_MINI, DepthProConfig, depth_pro_tiling
from edgedepth.models.depth_pro_encoder import fuse_tiles, image_pyramid, split_tiles
from edgedepth.models.random_init import random_depth_pro

TINY = DepthProConfig(
    width=32,
    depth=3,
    heads=2,
    patch=16,
    tile=128,
    hooks=(0, 1),
    feature_dims=(16, 24, 32, 32),
    decoder_width=16,
)


@pytest.fixture(scope="module")
def model() -> DepthPro:
    return random_depth_pro(TINY, seed=0)


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 9, 9, generator=generator)
    return F.interpolate(coarse, size=(512, 512), mode="bicubic").clamp(0, 1) * 2 - 1


def on_meta(config: DepthProConfig) -> DepthPro:
    with torch.device("meta"):
        return DepthPro(config)


def test_the_published_model_has_its_951_991_330_parameters_in_1119_tensors() -> None:
    # the count that the published code's model has (facts of apple/ml-depth-pro's checkpoint)
    model = on_meta(DEPTH_PRO)
    assert sum(weight.numel() for weight in model.parameters()) == 951_991_330
    assert len(model.state_dict()) == 1119


def test_the_published_tensors_have_their_names_and_shapes() -> None:
    # read off the published code, layer by layer
    shapes = {name: tuple(weight.shape) for name, weight in on_meta(DEPTH_PRO).state_dict().items()}
    expected = {
        "encoder.patch_encoder.cls_token": (1, 1, 1024),
        "encoder.patch_encoder.pos_embed": (1, 577, 1024),
        "encoder.patch_encoder.patch_embed.proj.weight": (1024, 3, 16, 16),
        "encoder.patch_encoder.blocks.23.attn.qkv.weight": (3072, 1024),
        "encoder.image_encoder.blocks.11.mlp.fc2.weight": (1024, 4096),
        "encoder.image_encoder.norm.bias": (1024,),
        "encoder.upsample_latent0.0.weight": (256, 1024, 1, 1),
        "encoder.upsample_latent0.3.weight": (256, 256, 2, 2),
        "encoder.upsample_latent1.2.weight": (256, 256, 2, 2),
        "encoder.upsample0.1.weight": (512, 512, 2, 2),
        "encoder.upsample1.0.weight": (1024, 1024, 1, 1),
        "encoder.upsample2.1.weight": (1024, 1024, 2, 2),
        "encoder.upsample_lowres.bias": (1024,),
        "encoder.fuse_lowres.weight": (1024, 2048, 1, 1),
        "decoder.convs.1.weight": (256, 256, 3, 3),
        "decoder.convs.2.weight": (256, 512, 3, 3),
        "decoder.convs.4.weight": (256, 1024, 3, 3),
        "decoder.fusions.0.resnet2.residual.1.weight": (256, 256, 3, 3),
        "decoder.fusions.4.resnet1.residual.3.bias": (256,),
        "decoder.fusions.1.deconv.weight": (256, 256, 2, 2),
        "decoder.fusions.0.out_conv.bias": (256,),
        "head.0.weight": (128, 256, 3, 3),
        "head.1.bias": (128,),
        "head.2.weight": (32, 128, 3, 3),
        "head.4.weight": (1, 32, 1, 1),
        "fov.encoder.0.blocks.0.ls1.gamma": (1024,),
        "fov.encoder.1.weight": (128, 1024),
        "fov.downsample.0.weight": (128, 256, 3, 3),
        "fov.head.0.weight": (64, 128, 3, 3),
        "fov.head.2.bias": (32,),
        "fov.head.4.weight": (1, 32, 6, 6),
    }
    assert {name: shapes.get(name) for name in expected} == expected
    # the finest level has no projection and no doubling, and upsampling has no bias
    for absent in ("decoder.convs.0.weight", "decoder.fusions.0.deconv.weight", "encoder.upsample0.1.bias"):
        assert absent not in shapes


def test_the_mini_model_is_small() -> None:
    assert sum(weight.numel() for weight in on_meta(DEPTH_PRO_MINI).parameters()) <= 12_000_000


def test_the_published_pyramid_is_cut_into_25_9_and_1_tiles_at_the_published_places() -> None:
    tiling = depth_pro_tiling(DEPTH_PRO)
    # every pixel says where it is
    rows, columns = torch.meshgrid(torch.arange(1536.0), torch.arange(1536.0), indexing="ij")
    image = torch.stack((rows, columns))[None]

    corners = []
    for level, scale in zip(tiling.levels, (1, 2, 4), strict=True):
        tiles = split_tiles(image[..., : 1536 // scale, : 1536 // scale], level, tiling.tile)
        assert tiles.shape[1:] == (2, 384, 384)
        corners.append([tuple(tile[:, 0, 0].int().tolist()) for tile in tiles])

    fine, half = (0, 288, 576, 864, 1152), (0, 192, 384)
    assert corners[0] == [(y, x) for y in fine for x in fine]
    assert corners[1] == [(y, x) for y in half for x in half]
    assert corners[2] == [(0, 0)]


@pytest.mark.parametrize("config", [DEPTH_PRO, DEPTH_PRO_MINI, TINY])
def test_fusing_what_was_split_gives_the_map_back(config: DepthProConfig) -> None:
    tiling = depth_pro_tiling(config)
    generator = torch.Generator().manual_seed(0)
    for level, side in zip(tiling.levels, config.fused_sides, strict=True):
        # one feature a patch: an image of solid patches, seen through each patch's first pixel
        features = torch.rand(2, 3, side, side, generator=generator)
        image = features.repeat_interleave(config.patch, dim=2).repeat_interleave(config.patch, dim=3)
        tiles = split_tiles(image, level, config.tile)[..., :: config.patch, :: config.patch]

        fused = fuse_tiles(tiles.permute(0, 2, 3, 1), level, batch=2)

        assert torch.equal(fused, features.permute(0, 2, 3, 1))


def test_the_pyramid_halves_by_averaging_neighbours(image: torch.Tensor) -> None:
    full, half, quarter = image_pyramid(image)

    assert full is image
    # half-pixel centres at a factor of 2 lie between 4 pixels, at 4 between the inner 4 of 16
    torch.testing.assert_close(half, F.avg_pool2d(image, 2), rtol=0, atol=1e-6)
    inner = image.unfold(2, 4, 4).unfold(3, 4, 4)[..., 1:3, 1:3].mean(dim=(-1, -2))
    torch.testing.assert_close(quarter, inner, rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_batch_is_its_pictures_one_by_one(model: DepthPro, image: torch.Tensor) -> None:
    inverse_depth, fov_deg = model(image)

    assert inverse_depth.shape == (2, 1, 512, 512)
    assert fov_deg.shape == (2, 1)
    for index in range(2):
        alone, fov_alone = model(image[index : index + 1])
        # the same sums, blocked otherwise for another batch size
        torch.testing.assert_close(inverse_depth[index : index + 1], alone, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(fov_deg[index : index + 1], fov_alone, rtol=1e-5, atol=0)


@pytest.mark.parametrize("shape", [(1, 3, 256, 256), (1, 4, 512, 512), (3, 512, 512), (1, 3, 512, 511)])
def test_forward_refuses_another_shape(model: DepthPro, shape: tuple[int, ...]) -> None:
    with pytest.raises(FrameError, match=r"takes \(N, 3, 512, 512\), got") as caught:
        model(torch.zeros(shape))
    assert "infer()" in caught.value.remedy


@pytest.mark.parametrize("shape", [(256, 256), (1, 1, 64, 64), (4, 64, 64), (1, 3, 0, 64), (0, 3, 64, 64)])
def test_infer_refuses_what_is_no_picture(model: DepthPro, shape: tuple[int, ...]) -> None:
    with pytest.raises(FrameError, match="infer takes"):
        model.infer(torch.zeros(shape))


def test_infer_at_the_input_size_is_the_published_formula(model: DepthPro, image: torch.Tensor) -> None:
    with torch.no_grad():
        canonical, fov_deg = model(image)

    result = model.infer(image)

    for index in range(2):
        focal = 0.5 * 512 / math.tan(math.radians(fov_deg[index].item()) / 2)
        assert result.focal_px[index].item() == pytest.approx(focal, rel=1e-5)
        inverse = canonical[index] * 512 / focal
        torch.testing.assert_close(result.depth[index], 1 / inverse.clamp(1e-4, 1e4), rtol=1e-5, atol=0)


def test_a_known_focal_length_scales_depth_in_proportion(model: DepthPro, image: torch.Tensor) -> None:
    picture = F.interpolate(image[:1], size=(90, 160), mode="bilinear")[0]

    near, far = model.infer(picture, focal_px=100.0), model.infer(picture, focal_px=torch.tensor([250.0]))

    assert near.depth.shape == (1, 1, 90, 160)
    assert far.focal_px.tolist() == [250.0]
    unclamped = far.depth < 1e4
    torch.testing.assert_close(far.depth[unclamped], 2.5 * near.depth[unclamped], rtol=1e-5, atol=0)


def test_infer_clamps_what_has_no_depth(model: DepthPro, image: torch.Tensor) -> None:
    far, near = model.infer(image[:1], focal_px=1e12), model.infer(image[:1], focal_px=1e-12)

    assert torch.all(far.depth == 1 / torch.tensor(1e-4))
    assert near.depth.min() == 1 / torch.tensor(1e4)
