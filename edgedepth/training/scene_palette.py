"""Colours and materials that procedural scenes are painted with: muted, as the world's mostly are."""

from __future__ import annotations

from random import Random

from edgedepth.training.scene_materials import Material

__all__ = ["Palette"]

Rgb = tuple[float, float, float]


class Palette:
    """Muted colours and materials, drawn from one random stream."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def color(self, low: float = 0.1, high: float = 0.8, saturation: float = 0.22) -> Rgb:
        """A linear RGB colour, mostly near grey, now and then strong."""
        strong = saturation * (2.5 if self._random.random() < 0.1 else 1.0)
        gray = self._random.uniform(low, high)
        r, g, b = (min(0.95, max(0.02, gray * (1 + strong * self._random.uniform(-1, 1)))) for _ in range(3))
        return r, g, b

    def wood(self, pattern: str = "wood") -> Material:
        """Brown to blond wood; grain of half a metre, or planks 12 cm wide."""
        tone = self._random.uniform(0.12, 0.6)
        light = (tone, tone * self._random.uniform(0.62, 0.8), tone * self._random.uniform(0.35, 0.6))
        period = 1.2 if pattern == "planks" else 0.5
        return Material(pattern=pattern, period_m=period, dark=_scaled(light, 0.45), light=light, gloss=0.25)

    def plain(self, low: float = 0.1, high: float = 0.85) -> Material:
        """Paint, plaster or cloth of one colour."""
        light = self.color(low, high)
        pattern = self._random.choice(("plaster", "plaster", "speckle", "clouds"))
        return Material(
            pattern=pattern,
            period_m=self._random.uniform(0.4, 1.5),
            dark=_scaled(light, self._random.uniform(0.5, 0.85)),
            light=light,
            gloss=self._random.choice((0.0, 0.0, 0.3)),
        )

    def cloth(self) -> Material:
        """Plain, striped, checked or dotted."""
        pattern = self._random.choice(("speckle", "speckle", "plaid", "stripes", "dots"))
        return Material(
            pattern=pattern, period_m=self._random.uniform(0.25, 0.8), dark=self.color(), light=self.color()
        )

    def green(self) -> Material:
        """Leaves and grass."""
        tone = self._random.uniform(0.12, 0.4)
        light = (tone * self._random.uniform(0.5, 0.9), tone, tone * self._random.uniform(0.2, 0.5))
        return Material(pattern="grass", period_m=1.0, dark=_scaled(light, 0.25), light=light)

    def of(self, pattern: str, period_m: float, low: float = 0.2, high: float = 0.8, gloss: float = 0.0) -> Material:
        """A pattern of given size in random colours."""
        light = self.color(low, high)
        return Material(
            pattern=pattern,
            period_m=period_m,
            dark=_scaled(light, self._random.uniform(0.2, 0.6)),
            light=light,
            gloss=gloss,
        )


def _scaled(color: Rgb, factor: float) -> Rgb:
    return color[0] * factor, color[1] * factor, color[2] * factor
