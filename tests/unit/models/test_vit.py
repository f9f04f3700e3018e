"""The vision transformer: its attention, its hooks, and what it calls its parameters."""

import copy

import pytest
import torch
import torch.nn.functional as F

from edgedepth.models.precision import Fp32LayerNorm
from edgedepth.models.vit import Attention, ViT, token_map


@pytest.fixture(scope="module")
def vit() -> ViT:
    torch.manual_seed(0)
    vit = ViT(side=24, patch=8, width=32, depth=3, heads=2).eval()
    with torch.no_grad():
        vit.cls_token.normal_()
        vit.pos_embed.normal_()
    return vit


@torch.no_grad()
def test_attention_is_scaled_dot_product_attention() -> None:
    torch.manual_seed(0)
    attention = Attention(32, heads=4)
    tokens = torch.randn(2, 5, 32)

    query, key, value = attention.qkv(tokens).reshape(2, 5, 3, 4, 8).permute(2, 0, 3, 1, 4)
    expected = attention.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(2, 5, 32))

    # the same sums in fp32, in another order
    torch.testing.assert_close(attention(tokens), expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(2, 5, 32), (1, 65, 32), (35, 17, 32)])
def test_fused_attention_computes_the_same(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    spelled, fused = Attention(32, heads=4), Attention(32, heads=4)
    fused.load_state_dict(spelled.state_dict())
    fused.fused = True
    tokens = 3 * torch.randn(shape)

    # the same sums in fp32, in another order
    torch.testing.assert_close(fused(tokens), spelled(tokens), rtol=1e-5, atol=2e-6)


def test_fused_attention_has_the_same_gradients() -> None:
    torch.manual_seed(0)
    spelled = Attention(32, heads=4)
    fused = copy.deepcopy(spelled)
    fused.fused = True
    tokens, weights = torch.randn(2, 5, 32), torch.randn(2, 5, 32)
    for attention in (spelled, fused):
        torch.autograd.backward((attention(tokens) * weights).sum())

    for mine, theirs in zip(fused.parameters(), spelled.parameters(), strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        # sums of 10 tokens in fp32; the key's bias has a gradient of 0 but for rounding
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def operators(model: ViT) -> set[str]:
    """Names of those that run, which are those that an exporter sees."""
    with torch.autograd.profiler.profile() as profile:
        model(torch.zeros(1, 3, 24, 24))
    return {event.name for event in profile.function_events}


def test_attention_is_spelled_unless_training_asks_otherwise(vit: ViT) -> None:
    assert not any(module.fused for module in vit.modules() if isinstance(module, Attention))
    plain = operators(vit)
    assert any("softmax" in name for name in plain)
    assert not any("scaled_dot_product" in name for name in plain)

    trained = copy.deepcopy(vit)
    for module in trained.modules():
        if isinstance(module, Attention):
            module.fused = True
    # so that the test above would notice
    assert any("scaled_dot_product" in name for name in operators(trained))
    # one model's switch isn't another's
    assert not Attention(32, heads=4).fused
    assert operators(vit) == plain


@torch.no_grad()
def test_hooks_return_the_blocks_outputs_as_they_leave_them(vit: ViT) -> None:
    image = torch.randn(2, 3, 24, 24)
    leaving: list[torch.Tensor] = []
    handles = [block.register_forward_hook(lambda *call: leaving.append(call[2])) for block in vit.blocks]
    first, last, final = vit(image, hooks=(0, 2))
    for handle in handles:
        handle.remove()

    assert torch.equal(first, leaving[0])
    assert torch.equal(last, leaving[2])
    assert torch.equal(final, vit.norm(leaving[2]))
    assert len(vit(image)) == 1
    assert torch.equal(vit(image)[0], final)


@torch.no_grad()
def test_tokens_are_laid_out_in_row_major_order(vit: ViT) -> None:
    patches = vit.patch_embed(torch.randn(1, 3, 24, 24))
    tokens = torch.cat((vit.cls_token, patches), dim=1)

    laid_out = token_map(tokens, vit.grid)

    assert laid_out.shape == (1, 3, 3, 32)
    assert torch.equal(laid_out[0, 1, 2], patches[0, 1 * 3 + 2])


def test_parameters_carry_the_names_of_timm(vit: ViT) -> None:
    shapes = {name: tuple(weight.shape) for name, weight in vit.state_dict().items()}

    assert shapes["cls_token"] == (1, 1, 32)
    assert shapes["pos_embed"] == (1, 10, 32)
    assert shapes["patch_embed.proj.weight"] == (32, 3, 8, 8)
    assert shapes["blocks.2.attn.qkv.weight"] == (96, 32)
    assert shapes["blocks.2.attn.proj.bias"] == (32,)
    assert shapes["blocks.0.ls2.gamma"] == (32,)
    assert shapes["blocks.0.mlp.fc1.weight"] == (128, 32)
    assert shapes["norm.weight"] == (32,)
    assert len(shapes) == 4 + 3 * 14 + 2


def test_every_layer_norm_is_fp32_with_the_published_epsilon(vit: ViT) -> None:
    norms = [module for module in vit.modules() if isinstance(module, torch.nn.LayerNorm)]

    assert len(norms) == 2 * 3 + 1
    assert all(isinstance(norm, Fp32LayerNorm) and norm.eps == 1e-6 for norm in norms)
