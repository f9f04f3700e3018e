"""Depth Pro's decoder as a stage: in horizontal strips, with the reference's own layers or with folded ones.

Wherever two of its layers follow each other without a nonlinearity they can be one (models/folding.py): a ninth fewer
products at full size. It pays where transposed convolutions are fast, and costs where they aren't:
docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_decoder import FusionBlock
from edgedepth.models.depth_pro_encoder import FeatureUpsampler
from edgedepth.models.folding import BorderedConv, deconv_after_projection, deconv_then_conv, projection_then_conv

__all__ = ["STRIP_ROWS", "DecoderStage"]

STRIP_ROWS = 16
"""Rows of latent0 in a strip of the finest level: six strips for Depth Pro, two for the mini."""

_REFINE_REACH = 4
"""Rows that the finest fusion's four convolutions look to each side."""

_HEAD_REACH = 2
"""Rows, at the finest fusion's scale, that the head looks to each side: 1.5."""


class DecoderStage(nn.Module):
    """Upsamples and decodes the fused maps, and runs the depth head.

    The same function as the reference's, in an order that needs less memory: each map is upsampled when its turn comes,
    and the finest level, whose maps are the largest, is decoded in horizontal strips. A strip computes as many rows of
    its neighbours as its convolutions look at, so every pixel that is kept sees what it sees in the whole.

    Args:
        model: whose layers are shared, or folded; it is not changed.
        folded: one layer for each pair without a nonlinearity between.
        strip_rows: rows of latent0 decoded together; they divide its height.
    """

    def __init__(self, model: DepthPro, *, folded: bool = False, strip_rows: int = STRIP_ROWS) -> None:
        super().__init__()
        up, decoder = model.encoder, model.decoder
        convs: Any = decoder.convs  # Any: containers of layers are typed as nn.Module all the way down
        self.strip_rows = strip_rows
        self.upsampler = FeatureUpsampler.sharing(model.encoder, model.config)
        self.conv4 = convs[4]
        projected = ((up.upsample1, convs[3]), (up.upsample0, convs[2]), (up.upsample_latent1, convs[1]))
        self.level1, self.level0, self.latent1 = (
            (_folded if folded else _one_by_one)(list(upsample), conv) for upsample, conv in projected
        )
        self.refine = nn.ModuleList(_Refine(decoder.fusion(level)) for level in range(5))
        self.expand = nn.ModuleList(_expand(decoder.fusion(level), folded=folded) for level in (1, 2, 3, 4))
        self.head: nn.Module = _FoldedHead(model) if folded else _Head(model)

    def forward(  # noqa: PLR0917  (an exported graph's inputs have an order)
        self,
        latent0: Tensor,
        latent1: Tensor,
        level0: Tensor,
        level1: Tensor,
        level2: Tensor,
        image_features: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Decode channels-last maps to canonical_inverse_depth (1, 1, S, S) and lowres_features."""
        coarse, lowres_features = self.decode_coarse(level0, level1, level2, image_features)
        features = self.add_latent1(coarse, latent1)
        rows = range(0, latent0.shape[1], self.strip_rows)
        strips = [self._decode_strip(features, latent0, first) for first in rows]
        return torch.cat(strips, dim=2), lowres_features.float()

    def decode_coarse(
        self, level0: Tensor, level1: Tensor, level2: Tensor, image_features: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The three coarse levels: features (1, decoder_width, 8G, 8G) and lowres_features."""
        up, refine, expand = self.upsampler, self.refine, self.expand
        lowres_features = self.conv4(up.merge_coarsest(level2, image_features))
        features = expand[3](refine[4](lowres_features, None))
        features = expand[2](refine[3](features, self.level1(up.channels_first(level1))))
        coarse: Tensor = refine[2](features, self.level0(up.channels_first(level0)))
        return coarse, lowres_features

    def add_latent1(self, coarse: Tensor, latent1: Tensor) -> Tensor:
        """The level before the finest: coarse (1, decoder_width, 2H, 2W) and latent1 (1, H, W, width) to 4H and 4W."""
        features = self.expand[1](coarse)
        fused: Tensor = self.refine[1](features, self.latent1(self.upsampler.channels_first(latent1)))
        return fused

    def decode_window(self, features: Tensor, latent0: Tensor) -> Tensor:
        """The finest level and the head on a whole picture, or on a window as if it were one."""
        finer = self.upsampler.upsample_latent0(self.upsampler.channels_first(latent0))
        refined = self.refine[0](self.expand[0](features), finer)
        decoded: Tensor = self.head(refined, at_top=True, at_bottom=True)
        return decoded

    def _decode_strip(self, features: Tensor, latent0: Tensor, first: int) -> Tensor:
        """strip_rows rows of latent0, decoded to sixteen times as many of canonical inverse depth.

        Rows of its neighbours are dropped as soon as nothing looks at them any more. All strips are of one size, the
        outer ones too, so that a runtime uses the same buffers for each.
        """
        rows, wanted = latent0.shape[1], self.strip_rows
        whole, begin, size = 8 * rows, 8 * first, 8 * wanted  # in rows of the finest level
        seen = _window(first, wanted, 1, rows)
        for_refine = _window(begin, size, _REFINE_REACH + _HEAD_REACH, whole)
        for_head = _window(begin, size, _HEAD_REACH, whole)
        finer = self.upsampler.upsample_latent0(self.upsampler.channels_first(latent0[:, seen]))
        coarser = self.expand[0](features[:, :, 4 * seen.start : 4 * seen.stop])
        upsampled = _within(for_refine, 8 * seen.start)
        refined = self.refine[0](coarser[:, :, upsampled], finer[:, :, upsampled])
        decoded: Tensor = self.head(
            refined[:, :, _within(for_head, for_refine.start)],
            at_top=for_head.start == 0,
            at_bottom=for_head.stop == whole,
        )
        return decoded[:, :, 2 * (begin - for_head.start) : 2 * (begin - for_head.start + size)]


def _window(start: int, length: int, reach: int, total: int) -> slice:
    """`length` rows from `start` on and `reach` more on each side, moved to lie inside `total`."""
    size = min(length + 2 * reach, total)
    first = min(max(start - reach, 0), total - size)
    return slice(first, first + size)


def _within(rows: slice, start: int) -> slice:
    """Rows of the whole as rows of a part that begins at `start`."""
    return slice(rows.start - start, rows.stop - start)


def _one_by_one(upsample: Sequence[Any], conv: nn.Conv2d) -> nn.Module:
    return nn.Sequential(*upsample, conv)


def _folded(upsample: Sequence[Any], conv: nn.Conv2d) -> nn.Module:
    """A projection, transposed convolutions and a convolution behind them."""
    projection, *deconvs = upsample
    last = deconv_then_conv(deconvs[-1], conv)
    if len(deconvs) == 1 and projection.out_channels >= projection.in_channels:
        # As many channels before the projection as behind it: folded in it costs nothing.
        return deconv_after_projection(projection, last)
    return nn.Sequential(projection, *deconvs[:-1], last)


class _Refine(nn.Module):
    """FusionBlock.refine, without the layers behind it."""

    def __init__(self, block: FusionBlock) -> None:
        super().__init__()
        self.resnet1, self.resnet2 = block.resnet1, block.resnet2

    def forward(self, features: Tensor, finer: Tensor | None) -> Tensor:
        if finer is not None:
            features = features + self.resnet1(finer)
        refined: Tensor = self.resnet2(features)
        return refined


def _expand(block: FusionBlock, *, folded: bool) -> nn.Module:
    """FusionBlock.expand of a block that doubles the side."""
    assert block.deconv is not None
    return deconv_then_conv(block.deconv, block.out_conv) if folded else nn.Sequential(block.deconv, block.out_conv)


class _Head(nn.Module):
    """The finest fusion's last layer and the depth head."""

    def __init__(self, model: DepthPro) -> None:
        super().__init__()
        self.out_conv, self.head = model.decoder.fusion(0).out_conv, model.head

    def forward(self, features: Tensor, *, at_top: bool, at_bottom: bool) -> Tensor:  # noqa: ARG002  (_FoldedHead's)
        """Decode rows (N, decoder_width, H, S/2) to canonical inverse depth (N, 1, 2H, S)."""
        inverse_depth: Tensor = self.head(self.out_conv(features))
        return inverse_depth


class _FoldedHead(nn.Module):
    """The same, folded."""

    def __init__(self, model: DepthPro) -> None:
        super().__init__()
        out_conv = model.decoder.fusion(0).out_conv
        head: Any = model.head
        conv0, deconv, conv1, self.relu, self.last, self.positive = head
        width = model.config.input_size // 2
        self.halved = BorderedConv(
            projection_then_conv(out_conv, conv0), (out_conv, conv0), (out_conv.in_channels, width)
        )
        self.doubled = BorderedConv(deconv_then_conv(deconv, conv1), (deconv, conv1), (deconv.in_channels, width))

    def forward(self, features: Tensor, *, at_top: bool, at_bottom: bool) -> Tensor:
        """As _Head.forward."""
        halved = self.halved(features, at_top=at_top, at_bottom=at_bottom)
        doubled = self.doubled(halved, at_top=at_top, at_bottom=at_bottom)
        inverse_depth: Tensor = self.positive(self.last(self.relu(doubled)))
        return inverse_depth
