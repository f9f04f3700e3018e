"""Depth Pro's decoder for export: the same function as DecoderStage in a fifth fewer products.

Wherever two of its layers follow each other without a nonlinearity they are one here (models/folding.py); the reference
keeps its own. Measured gains: docs/performance.md.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_decoder import FusionBlock
from edgedepth.models.depth_pro_encoder import FeatureUpsampler
from edgedepth.models.depth_pro_stages import STRIP_ROWS, stage_modules
from edgedepth.models.folding import BorderedConv, deconv_after_projection, deconv_then_conv, projection_then_conv

__all__ = ["FoldedDecoderStage", "exported_modules"]


_REFINE_REACH = 4
"""Rows that the finest fusion's four convolutions look to each side."""

_HEAD_REACH = 2
"""Rows, at the finest fusion's scale, that the head looks to each side: 1.5."""


class FoldedDecoderStage(nn.Module):
    """DecoderStage with folded layers: the same inputs, outputs and strips.

    Args:
        model: whose weights are folded; it is not changed.
        strip_rows: rows of latent0 decoded together at the finest level; they divide its height. Each strip also
            computes one row of each neighbour.
    """

    def __init__(self, model: DepthPro, *, strip_rows: int = STRIP_ROWS) -> None:
        super().__init__()
        up, decoder = model.encoder, model.decoder
        convs: Any = decoder.convs  # Any: containers of layers are typed as nn.Module all the way down
        latent1, level0, level1 = (list[Any](m) for m in (up.upsample_latent1, up.upsample0, up.upsample1))
        _, conv1, conv2, conv3, self.conv4 = convs
        self.strip_rows = strip_rows
        self.upsampler = FeatureUpsampler.sharing(model.encoder, model.config)
        self.refine = nn.ModuleList(_Refine(decoder.fusion(level)) for level in range(5))
        self.expand = nn.ModuleList(_expand(decoder.fusion(level)) for level in (1, 2, 3, 4))
        self.latent1 = nn.Sequential(*latent1[:2], deconv_then_conv(latent1[2], conv1))
        self.level0 = nn.Sequential(level0[0], deconv_then_conv(level0[1], conv2))
        # As many channels before the projection as behind it: it costs nothing folded in.
        self.level1 = deconv_after_projection(level1[0], deconv_then_conv(level1[1], conv3))
        self.head = _FoldedHead(model)

    def forward(  # noqa: PLR0917  (an exported graph's inputs have an order)
        self,
        latent0: Tensor,
        latent1: Tensor,
        level0: Tensor,
        level1: Tensor,
        level2: Tensor,
        image_features: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Decode as DecoderStage.forward does."""
        up, refine, expand = self.upsampler, self.refine, self.expand
        lowres_features = self.conv4(up.merge_coarsest(level2, image_features))
        features = expand[3](refine[4](lowres_features, None))
        features = expand[2](refine[3](features, self.level1(up.channels_first(level1))))
        features = expand[1](refine[2](features, self.level0(up.channels_first(level0))))
        features = refine[1](features, self.latent1(up.channels_first(latent1)))
        rows = range(0, latent0.shape[1], self.strip_rows)
        strips = [self._decode_strip(features, latent0, first) for first in rows]
        return torch.cat(strips, dim=2), lowres_features.float()

    def _decode_strip(self, features: Tensor, latent0: Tensor, first: int) -> Tensor:
        """As DecoderStage's: strip_rows rows of latent0 to sixteen times as many of canonical inverse depth.

        Rows of its neighbours are dropped as soon as nothing looks at them any more.
        """
        rows, wanted = latent0.shape[1], self.strip_rows
        whole, begin, size = 8 * rows, 8 * first, 8 * wanted  # in rows of the finest level
        seen = _window(first - 1, wanted + 2, rows)
        for_refine = _window(begin - _REFINE_REACH - _HEAD_REACH, size + 2 * (_REFINE_REACH + _HEAD_REACH), whole)
        for_head = _window(begin - _HEAD_REACH, size + 2 * _HEAD_REACH, whole)
        finer = self.upsampler.upsample_latent0(self.upsampler.channels_first(latent0[:, seen]))
        coarser = self.expand[0](features[:, :, 4 * seen.start : 4 * seen.stop])
        refined = self.refine[0](
            coarser[:, :, _within(for_refine, 8 * seen.start)], finer[:, :, _within(for_refine, 8 * seen.start)]
        )
        decoded: Tensor = self.head(
            refined[:, :, _within(for_head, for_refine.start)],
            at_top=for_head.start == 0,
            at_bottom=for_head.stop == whole,
        )
        return decoded[:, :, 2 * (begin - for_head.start) : 2 * (begin - for_head.start + size)]


def _window(start: int, length: int, total: int) -> slice:
    """`length` rows from `start` on, moved to lie inside `total`: all strips are of one size, the outer ones too."""
    length = min(length, total)
    start = min(max(start, 0), total - length)
    return slice(start, start + length)


def _within(rows: slice, start: int) -> slice:
    """Rows of the whole as rows of a part that begins at `start`."""
    return slice(rows.start - start, rows.stop - start)


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


def _expand(block: FusionBlock) -> nn.ConvTranspose2d:
    """FusionBlock.expand of a block that doubles the side."""
    assert block.deconv is not None
    return deconv_then_conv(block.deconv, block.out_conv)


class _FoldedHead(nn.Module):
    """The finest fusion's last layer and the depth head."""

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
        """Decode rows (N, decoder_width, H, S/2) to canonical inverse depth (N, 1, 2H, S)."""
        halved = self.halved(features, at_top=at_top, at_bottom=at_bottom)
        doubled = self.doubled(halved, at_top=at_top, at_bottom=at_bottom)
        inverse_depth: Tensor = self.positive(self.last(self.relu(doubled)))
        return inverse_depth


def exported_modules(model: DepthPro) -> dict[str, nn.Module]:
    """The stages by name as they are exported: `stage_modules`, with the decoder folded."""
    return stage_modules(model) | {"decoder": FoldedDecoderStage(model)}
