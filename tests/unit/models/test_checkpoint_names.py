"""Names, against literal ones of the published checkpoints."""

import pytest

from edgedepth.models.checkpoint_names import LAYOUTS, best_layout, hugging_face_names

# read off transformers' modeling_depth_pro.py and what its save_pretrained writes
LITERAL = {
    "encoder.patch_encoder.cls_token": "depth_pro.encoder.patch_encoder.model.embeddings.cls_token",
    "encoder.image_encoder.pos_embed": "depth_pro.encoder.image_encoder.model.embeddings.position_embeddings",
    "fov.encoder.0.patch_embed.proj.bias": ("fov_model.fov_encoder.model.embeddings.patch_embeddings.projection.bias"),
    "encoder.patch_encoder.blocks.23.norm1.weight": (
        "depth_pro.encoder.patch_encoder.model.encoder.layer.23.norm1.weight"
    ),
    "encoder.patch_encoder.blocks.7.attn.proj.bias": (
        "depth_pro.encoder.patch_encoder.model.encoder.layer.7.attention.output.dense.bias"
    ),
    "fov.encoder.0.blocks.3.ls2.gamma": "fov_model.fov_encoder.model.encoder.layer.3.layer_scale2.lambda1",
    "encoder.image_encoder.blocks.10.mlp.fc2.weight": (
        "depth_pro.encoder.image_encoder.model.encoder.layer.10.mlp.fc2.weight"
    ),
    "encoder.image_encoder.norm.weight": "depth_pro.encoder.image_encoder.model.layernorm.weight",
    "encoder.upsample_latent0.3.weight": "depth_pro.neck.feature_upsample.intermediate.1.layers.3.weight",
    "encoder.upsample_latent1.0.weight": "depth_pro.neck.feature_upsample.intermediate.0.layers.0.weight",
    "encoder.upsample0.1.weight": "depth_pro.neck.feature_upsample.scaled_images.2.layers.1.weight",
    "encoder.upsample2.0.weight": "depth_pro.neck.feature_upsample.scaled_images.0.layers.0.weight",
    "encoder.upsample_lowres.bias": "depth_pro.neck.feature_upsample.image_block.layers.0.bias",
    "encoder.fuse_lowres.weight": "depth_pro.neck.fuse_image_with_low_res.weight",
    "decoder.convs.1.weight": "depth_pro.neck.feature_projection.projections.3.weight",
    "decoder.convs.4.weight": "depth_pro.neck.feature_projection.projections.0.weight",
    "decoder.fusions.0.resnet2.residual.1.weight": "fusion_stage.final.residual_layer2.convolution1.weight",
    "decoder.fusions.4.resnet1.residual.3.bias": ("fusion_stage.intermediate.0.residual_layer1.convolution2.bias"),
    "decoder.fusions.1.deconv.weight": "fusion_stage.intermediate.3.deconv.weight",
    "decoder.fusions.2.out_conv.bias": "fusion_stage.intermediate.2.projection.bias",
    "head.4.weight": "head.layers.4.weight",
    "fov.encoder.1.weight": "fov_model.fov_encoder.neck.weight",
    "fov.downsample.0.bias": "fov_model.conv.bias",
    "fov.head.4.weight": "fov_model.head.layers.4.weight",
}


@pytest.mark.parametrize("ours", LITERAL)
def test_single_tensors(ours: str) -> None:
    assert hugging_face_names(ours) == (LITERAL[ours],)


def test_qkv_comes_in_three() -> None:
    attention = "fov_model.fov_encoder.model.encoder.layer.5.attention.attention."
    assert hugging_face_names("fov.encoder.0.blocks.5.attn.qkv.weight") == (
        f"{attention}query.weight",
        f"{attention}key.weight",
        f"{attention}value.weight",
    )


def test_a_foreign_name_is_refused() -> None:
    with pytest.raises(KeyError):
        hugging_face_names("backbone.conv1.weight")


def test_the_layout_is_told_by_the_names() -> None:
    ours, theirs = LAYOUTS
    assert best_layout(LITERAL, LITERAL) == (ours, len(LITERAL))
    assert best_layout(LITERAL, LITERAL.values()) == (theirs, len(LITERAL))
    assert best_layout(LITERAL, ["conv1.weight"])[1] == 0
