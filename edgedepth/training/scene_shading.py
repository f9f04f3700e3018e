"""Light on what a camera sees: textures, sun and lamp, shadows, haze, sky, and the camera's own noise and blur."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgedepth.training.scene_layouts import Layout, Light
from edgedepth.training.scene_materials import PATTERNS, mix_of_pattern
from edgedepth.training.scene_shapes import Array, Kind, Solid
from edgedepth.training.scene_view import Camera, ParallelView, Visible, local_rays, look

__all__ = ["photograph"]

Map = npt.NDArray[np.float32]

_SHADOW_SIDE = 384
_SHADOW_START_M = 120.0
_SHADOW_BIAS_M = 0.04


def photograph(layout: Layout, camera: Camera, seen: Visible, noise: np.random.RandomState) -> npt.NDArray[np.uint8]:
    """The picture that a camera takes, (H, W, 3) uint8 sRGB.

    Args:
        layout: the place.
        camera: that looks at it.
        seen: what it sees.
        noise: of the exposure, the white balance and the sensor.
    """
    x, y = (c.astype(np.float32) for c in camera.coordinates())
    linear = _sky(layout.light, camera, y)
    pixels = np.flatnonzero(seen.solid.ravel() >= 0)
    if pixels.size:
        rows, columns = np.divmod(pixels, camera.width)
        surface = _Surface(layout, camera, seen, pixels, (x[columns], y[rows]))
        linear.reshape(-1, 3)[pixels] = surface.color()
    return _developed(linear, noise)


def _sky(light: Light, camera: Camera, y: Map) -> Map:
    up = camera.axes[2, 1] + y * camera.axes[1, 1]
    paler = np.clip(1 - up * 2, 0, 1)[:, None, None].astype(np.float32)
    top = np.array(light.sky, np.float32)
    rows = top + (1 - top) * np.float32(0.6) * paler
    sky: Map = np.tile(rows, (1, camera.width, 1))
    return sky


class _Surface:
    """The visible points of a picture, as flat arrays over its pixels."""

    def __init__(
        self, layout: Layout, camera: Camera, seen: Visible, pixels: npt.NDArray[np.int64], plane: tuple[Map, Map]
    ) -> None:
        self.layout, self.camera = layout, camera
        x, y = plane
        self.depth = seen.distance.ravel()[pixels]
        self.solid = seen.solid.ravel()[pixels]
        right, down, forward = (a.astype(np.float32) for a in camera.axes)
        ray = x[:, None] * right + y[:, None] * down + forward
        self.toward_eye = -ray / np.linalg.norm(ray, axis=1, keepdims=True)
        self.point = camera.position.astype(np.float32) + ray * self.depth[:, None]
        self.normal = np.empty_like(ray)
        self.uv = np.empty((len(x), 2), np.float32)
        self.material = np.empty(len(x), np.int64)
        order = np.argsort(self.solid, kind="stable")
        starts = np.flatnonzero(np.diff(self.solid[order], prepend=-1))
        for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
            part = order[start:stop]
            self._describe(layout.solids[self.solid[part[0]]], part, x[part], y[part])

    def _describe(self, solid: Solid, part: npt.NDArray[np.int64], x: Map, y: Map) -> None:
        """Normals, texture coordinates in metres and materials of the pixels of one solid."""
        origin, direction = local_rays(self.camera, solid, x, y)
        depth = self.depth[part]
        local = np.stack([o + d * depth for o, d in zip(origin, direction, strict=True)], axis=1)
        axis = _axis_of(solid.kind, local)
        metres = local * solid.half.astype(np.float32)
        # Sides are textured upright, tops and bottoms by x and z.
        u = np.where(axis == 0, metres[:, 2], metres[:, 0])
        v = np.where(axis == 1, metres[:, 2], -metres[:, 1])
        self.uv[part] = np.stack([u, v], axis=1) + np.float32(self.solid[part[0]] * 0.37)
        sides, top, bottom = solid.materials
        self.material[part] = np.where(axis != 1, sides, np.where(local[:, 1] > 0, top, bottom))
        world = _local_normal(solid.kind, local, axis) / solid.half.astype(np.float32) @ solid.turn.T.astype(np.float32)
        self.normal[part] = world / np.linalg.norm(world, axis=1, keepdims=True)

    def color(self) -> Map:
        """(N, 3) linear RGB."""
        light, materials = self.layout.light, self.layout.materials
        facing = np.abs((self.normal * self.toward_eye).sum(1))
        period = np.array([m.period_m for m in materials], np.float32)[self.material]
        texel = self.depth / self.camera.focal_x_px / period / np.maximum(facing, 0.2)
        pattern = np.array([PATTERNS.index(m.pattern) for m in materials])[self.material]
        uv = self.uv / period[:, None]
        mix = mix_of_pattern(pattern, uv[:, 0], uv[:, 1], texel)[:, None]
        dark = np.array([m.dark for m in materials], np.float32)[self.material]
        bright = np.array([m.light for m in materials], np.float32)[self.material]
        lit, shine = self._light(light)
        gloss = np.array([m.gloss for m in materials], np.float32)[self.material]
        linear = (dark + (bright - dark) * mix) * lit[:, None] + (gloss * shine)[:, None]
        if np.isfinite(light.haze_m):
            haze = (self.depth / (self.depth + np.float32(light.haze_m)))[:, None]
            linear = linear * (1 - haze) + np.array(light.sky, np.float32) * 0.9 * haze
        hazy: Map = linear.astype(np.float32)
        return hazy

    def _light(self, light: Light) -> tuple[Map, Map]:
        toward_sun = light.direction.astype(np.float32)
        sunny = np.maximum(self.normal @ toward_sun, 0) * self._sunlit(light)
        grounded = np.array([s.owner >= 0 for s in self.layout.solids])[self.solid]
        contact = np.where(grounded, 0.7 + 0.3 * np.clip(self.point[:, 1] / 0.4, 0, 1), 1.0)
        lit = light.ambient * (0.8 + 0.2 * self.normal[:, 1]) * contact + light.sun * sunny
        halfway = self.toward_eye + toward_sun
        halfway /= np.linalg.norm(halfway, axis=1, keepdims=True)
        shine = light.sun * np.maximum((self.normal * halfway).sum(1), 0) ** 32 * (sunny > 0)
        if light.lamp is not None:
            toward = light.lamp.astype(np.float32) - self.point
            distance = np.linalg.norm(toward, axis=1)
            lit = lit + 0.7 * np.maximum((self.normal * toward).sum(1) / distance, 0) / (1 + (distance / 2.5) ** 2)
        return lit.astype(np.float32), shine.astype(np.float32)

    def _sunlit(self, light: Light) -> Map:
        """How much of the sun reaches each point: four looks at a shadow map, 1 outside it."""
        aim = self.camera.position + self.camera.axes[2] * light.reach_m * 0.8
        forward = -light.direction
        right = np.cross(np.array([0.0, 1.0, 0.0]), forward)
        right /= np.linalg.norm(right)
        view = ParallelView(
            center=aim + light.direction * _SHADOW_START_M,
            axes=np.stack([right, np.cross(forward, right), forward]),
            half_m=light.reach_m,
            side=_SHADOW_SIDE,
        )
        casters = [s for s in self.layout.solids if s.casts_shadow]
        reached = look(view, casters).distance
        seen = (self.point - view.center.astype(np.float32)) @ view.axes.T.astype(np.float32)
        lit = np.zeros(len(seen), np.float32)
        at = (seen[:, :2] / np.float32(view.half_m) + 1) / 2 * _SHADOW_SIDE
        for shift in ((-0.6, -0.2), (0.2, -0.6), (0.6, 0.2), (-0.2, 0.6)):
            cell = np.floor(at + np.array(shift, np.float32)).astype(np.int64)
            inside = ((cell >= 0) & (cell < _SHADOW_SIDE)).all(1)
            cell = np.clip(cell, 0, _SHADOW_SIDE - 1)
            shaded = inside & (seen[:, 2] > reached[cell[:, 1], cell[:, 0]] + np.float32(_SHADOW_BIAS_M))
            lit += np.float32(0.25) * ~shaded
        return lit


def _axis_of(kind: Kind, local: Array) -> npt.NDArray[np.int64]:
    """The axis (0, 1, 2) that a surface point of a unit shape faces most."""
    if kind is Kind.CYLINDER:
        flat = np.abs(local[:, 1]) >= 1 - 1e-4
        return np.where(flat, 1, np.where(np.abs(local[:, 0]) > np.abs(local[:, 2]), 0, 2))
    axis: npt.NDArray[np.int64] = np.argmax(np.abs(local), axis=1)
    return axis


def _local_normal(kind: Kind, local: Array, axis: npt.NDArray[np.int64]) -> Array:
    """(N, 3) outward normals of a unit shape, inward for a shell, not normalised."""
    on_axis = np.eye(3, dtype=np.float32)[axis] * np.sign(local)
    if kind is Kind.BALL:
        return local
    if kind is Kind.CYLINDER:
        radial = local * np.array([1, 0, 1], np.float32)
        return np.where((axis == 1)[:, None], on_axis, radial)
    return -on_axis if kind is Kind.SHELL else on_axis


def _developed(linear: Map, noise: np.random.RandomState) -> npt.NDArray[np.uint8]:
    """Exposure, white balance, lens blur, sRGB-like curve, sensor noise."""
    middle = np.float32(np.mean(linear)) + np.float32(1e-6)
    balance = noise.uniform(0.92, 1.08, 3).astype(np.float32)
    exposed = np.clip(linear * (np.float32(noise.uniform(0.2, 0.42)) / middle) * balance, 0, 1)
    curved = np.sqrt(_blurred(exposed, np.float32(noise.uniform(0.2, 1.0))))
    grain = noise.standard_normal((64, 64, 3)).astype(np.float32) * np.float32(noise.uniform(0.0, 0.02))
    tiles = (-(-linear.shape[0] // 64), -(-linear.shape[1] // 64), 1)
    grainy = curved + np.tile(grain, tiles)[: linear.shape[0], : linear.shape[1]]
    picture: npt.NDArray[np.uint8] = np.round(np.clip(grainy, 0, 1) * 255).astype(np.uint8)
    return picture


def _blurred(image: Map, amount: np.float32) -> Map:
    """Mix in a 1-2-1 binomial blur, `amount` of it."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = (padded[:-2] + padded[2:]) * np.float32(0.25) + padded[1:-1] * np.float32(0.5)
    both = (rows[:, :-2] + rows[:, 2:]) * np.float32(0.25) + rows[:, 1:-1] * np.float32(0.5)
    blurred: Map = (image + (both - image) * amount).astype(np.float32)
    return blurred
