"""Camera of the demo's town: walls, ground, sky, billboards and cars seen from a street.

The camera never pitches or rolls and every wall is vertical, so each image column sees a vertical slice of
the world: walls are intersected per column and sorted there, which gives exact occlusion. Billboards and
cars are then drawn farthest first and tested against the depth of what the columns saw.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.town_light import Light
from demo.town_pictures import (
    PROFILE,
    WALL_PPM,
    WARM,
    Array,
    Atlas,
    Floats,
    Image,
    Texture,
    mip_level,
    mottle,
    pyramid,
)

GROUND_PPM = 8  # texels per metre
GROUND_ORIGIN, GROUND_SIZE = (-30.0, -30.0), (330, 300)  # m
LAYERS = 8  # walls kept per image column, nearest first
SKY, GROUND = LAYERS, LAYERS + 1  # what a sample sees if not a wall
VIEW_RANGE, PROP_RANGE, NEAR = 220.0, 110.0, 0.3  # m


class Wall(NamedTuple):
    start: Array
    end: Array
    height: float  # m
    texture: int


class Sprite(NamedTuple):
    position: tuple[float, float]
    bottom: float  # height above ground, m
    height: float  # m
    picture: int
    glows: bool


class Mesh(NamedTuple):
    position: tuple[float, float]
    vertices: Array  # (V, 3) m
    sizes: list[int]  # vertices of each face in turn, counter-clockwise seen from outside
    normals: Array  # (F, 3)
    colours: Array  # (F, 3) RGB


class Scene:
    """What stands in the town, in arrays; walls are seen from the right of start -> end, (N, 2) metres."""

    def __init__(self, walls: list[Wall], textures: list[Texture], ground: Image, sprites: list[Sprite],
                 pictures: list[Floats]):  # fmt: skip
        self.starts, self.ends = np.array([w.start for w in walls]), np.array([w.end for w in walls])
        self.heights = np.array([w.height for w in walls], np.float32)
        self.textures = np.array([w.texture for w in walls])
        along = self.ends - self.starts
        flat = np.column_stack([along[:, 1], -along[:, 0], np.zeros(len(along))])
        self.normals: Array = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        self.profiles = np.array([t.profile for t in textures], np.float32)
        self.atlas = Atlas([*(t.pixels for t in textures), ground])
        self.ground = len(textures)
        self.sprites, self.pictures = sprites, [pyramid(p) for p in pictures]
        # Every frame of a drive asks for the same light.
        self._shadows: dict[Light, Floats] = {}
        self._skies: dict[Light, Floats] = {}

    def sunlit(self, light: Light) -> Floats:
        """Share of sunlight on the ground, 2 samples per metre, (h, w)."""
        if light not in self._shadows:
            mask = np.full((GROUND_SIZE[1] * 2, GROUND_SIZE[0] * 2), 255, np.uint8)
            sun = np.array([math.cos(light.sun_azimuth), math.sin(light.sun_azimuth)])
            for a, b, height in zip(self.starts, self.ends, self.heights):
                reach = -sun * float(height) / math.tan(light.sun_elevation)
                quad = (np.array([a, b, b + reach, a + reach]) - GROUND_ORIGIN) * 2
                cv2.fillConvexPoly(mask, quad.round().astype(np.int32), (0,))
            self._shadows[light] = cv2.blur(mask, (3, 3)).astype(np.float32) / np.float32(255)
        return self._shadows[light]

    def sky(self, light: Light) -> Floats:
        """Panorama (256, 1024, 3): columns are azimuth from -pi, rows tan(elevation) from 1.2 down to 0."""
        if light not in self._skies:
            rng = np.random.default_rng([round(light.clouds * 1000), 7])
            up = np.linspace(1, 0, 256, dtype=np.float32)[:, None, None] ** 0.6
            azimuth = np.linspace(-math.pi, math.pi, 1024, dtype=np.float32)
            toward = (0.5 + 0.5 * np.cos(azimuth - light.sun_azimuth))[None, :, None] ** 3
            top, horizon = np.array(light.sky_top, np.float32), np.array(light.sky_horizon, np.float32)
            low = horizon * (0.75 + 0.25 * toward)
            clear = low + (top - low) * up
            octaves = [mottle(rng, 256, 1152, cell, s) for cell, s in ((40, 0.9), (14, 0.5), (5, 0.25))]
            billow = np.sum(octaves, axis=0)
            fade = np.linspace(0, 1, 128)  # closes the panorama
            billow[:, :128] = billow[:, :128] * fade + billow[:, 1024:] * (1 - fade)
            cover = np.clip(billow[:, :1024] - 1.0 + light.clouds, 0, 1)[..., None]
            cloud = np.clip(horizon * (0.8 + 0.3 * toward) + 20, 0, 255)
            self._skies[light] = ((clear + (cloud - clear) * cover * 0.8) * light.brightness).astype(
                np.float32
            )
        return self._skies[light]


class View(NamedTuple):
    """A level camera; focal length in pixels."""

    position: Array
    yaw: float
    height: float
    columns: int
    rows: int
    focal: float

    def place(self, points: Array) -> tuple[Array, Array]:
        """Depth along the view and distance to the right of it, of points (..., 2) in the town."""
        rel = points - self.position
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return rel[..., 0] * c + rel[..., 1] * s, rel[..., 0] * s - rel[..., 1] * c


class Hits(NamedTuple):
    """Nearest walls met by each image column, each (LAYERS, columns), nearest first."""

    wall: NDArray[np.intp]
    depth: Floats  # inf where there is none
    along: Floats  # position on the wall, 0..1


def hit_walls(scene: Scene, view: View, slopes: Floats) -> Hits:
    """Hits of image columns with the given slopes (right per depth)."""
    (da, ra), (db, rb) = view.place(scene.starts), view.place(scene.ends)
    edge = float(slopes[-1])
    seen = (np.maximum(da, db) > 0.1) & (np.minimum(da, db) < VIEW_RANGE) & (rb * da > ra * db)
    seen &= np.minimum(ra - edge * da, rb - edge * db) <= 0
    seen &= np.maximum(ra + edge * da, rb + edge * db) >= 0
    walls = np.flatnonzero(seen)
    if len(walls) < LAYERS:
        walls = np.append(walls, np.flatnonzero(~seen)[: LAYERS - len(walls)])
    d0, r0, d1, r1 = (np.asarray(c[walls, None], np.float32) for c in (da, ra, db, rb))
    with np.errstate(divide="ignore", invalid="ignore"):
        along = (d0 * slopes - r0) / (r1 - r0 - (d1 - d0) * slopes)
        depth = d0 + along * (d1 - d0)
        depth[~((along >= 0) & (along <= 1) & (depth > 0.1) & seen[walls, None])] = np.inf
    order = np.argpartition(depth, LAYERS - 1, axis=0)[:LAYERS]
    order = np.take_along_axis(order, np.argsort(np.take_along_axis(depth, order, 0), axis=0), 0)
    near = np.asarray(np.clip(np.nan_to_num(np.take_along_axis(along, order, 0)), 0, 1), np.float32)
    return Hits(walls[order], np.take_along_axis(depth, order, 0), near)


class Frame:
    """One image in the making. Surfaces are sampled at twice the resolution and averaged."""

    def __init__(self, view: View, light: Light, scene: Scene):
        self.view, self.light, self.scene = view, light, scene
        self.haze = np.array(light.sky_horizon, np.float32) * light.brightness * 0.85
        w, h, focal = 2 * view.columns, 2 * view.rows, np.float32(2 * view.focal)
        self.slopes: Floats = (np.arange(w, dtype=np.float32) + np.float32(0.5 - w / 2)) / focal
        self.drop: Floats = ((np.arange(h, dtype=np.float32) + np.float32(0.5 - h / 2)) / focal)[:, None]
        hits = hit_walls(scene, view, self.slopes)
        self.layer = self._layers(hits)
        self.image, self.depth = self._shaded(hits, self._texels(hits))

    def _layers(self, hits: Hits) -> Image:
        """Index of the hit that each sample sees; SKY or GROUND where none."""
        profile = (hits.along * (PROFILE - 1)).astype(int)
        texture = self.scene.textures[hits.wall]
        tall = self.scene.heights[hits.wall] * self.scene.profiles[texture, profile]
        edges = np.where(hits.depth < np.inf, (self.view.height - tall) / hits.depth, np.inf)
        edges = np.minimum.accumulate(edges, axis=0).astype(np.float32)
        layer = np.zeros((len(self.drop), len(self.slopes)), np.uint8)
        for edge in edges:  # a sample above the roof line of a wall sees the next one
            layer += self.drop < edge
        foot = np.where(hits.depth[0] < np.inf, self.view.height / hits.depth[0], 0.0)
        layer[self.drop >= np.maximum(foot, 1e-4)] = GROUND
        return layer

    def _texels(self, hits: Hits) -> Image:
        """Texture of every sample, RGB and glow, black in the sky."""
        u, v, scale = self._wall_texels(hits)
        lookup = self.layer * np.int32(len(self.slopes)) + np.arange(len(self.slopes), dtype=np.int32)
        map_x, map_y = u.take(lookup), v.take(lookup) + scale.take(lookup) * self.drop
        horizon = len(self.drop) // 2
        here = self.layer[horizon:] == GROUND
        for target, texel in zip((map_x, map_y), self._ground_texels(self.drop[horizon:])):
            np.copyto(target[horizon:], texel, where=here)
        image = self.scene.atlas.image
        sampled = cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return np.asarray(sampled, np.uint8)

    def _wall_texels(self, hits: Hits) -> tuple[Floats, Floats, Floats]:
        """Per layer and column: texel column, texel row at the horizon, texel rows per unit of drop."""
        atlas, texture = self.scene.atlas, self.scene.textures[hits.wall]
        depth = np.where(hits.depth < np.inf, hits.depth, np.float32(1))
        upright = depth * WALL_PPM / (2 * self.view.focal)  # texels per sample
        across = np.abs(np.gradient(hits.along, axis=1)) * atlas.width[texture]
        level = mip_level(np.sqrt(np.clip(across, upright, 16 * upright) * upright))
        shrink = np.float32(0.5) ** level
        u = (atlas.left[texture] + hits.along * atlas.width[texture]) * shrink - 0.5 + atlas.offset[level, 0]
        v = (atlas.base[texture] - self.view.height * WALL_PPM) * shrink - 0.5 + atlas.offset[level, 1]
        outside = np.full((2, len(self.slopes)), -9.0)  # for SKY and GROUND
        u, v, scale = (np.vstack([m, outside]).astype(np.float32) for m in (u, v, depth * WALL_PPM * shrink))
        return u, v, scale

    def _ground_at(self, drop: Floats, slopes: Floats) -> tuple[Floats, Floats, Floats]:
        """Depth of ground below the horizon, and its metres east and north of the ground's corner."""
        reach = np.minimum(self.view.height / drop, 4 * VIEW_RANGE)
        c, s = math.cos(self.view.yaw), math.sin(self.view.yaw)
        east = reach * (c + s * slopes) + (float(self.view.position[0]) - GROUND_ORIGIN[0])
        north = reach * (s - c * slopes) + (float(self.view.position[1]) - GROUND_ORIGIN[1])
        return reach, np.clip(east, 0, GROUND_SIZE[0]), np.clip(north, 0, GROUND_SIZE[1])

    def _ground_texels(self, drop: Floats) -> tuple[Floats, Floats]:
        """Texel column and row of ground samples below the horizon."""
        atlas, ground = self.scene.atlas, self.scene.ground
        reach, east, north = self._ground_at(drop, self.slopes)
        texels = reach * GROUND_PPM / (2 * self.view.focal)
        level = mip_level(texels * np.sqrt(np.maximum(reach / self.view.height, 1)))
        shrink = np.float32(0.5) ** level
        top = atlas.base[ground] - GROUND_SIZE[1] * GROUND_PPM
        u = (atlas.left[ground] + east * GROUND_PPM) * shrink - 0.5 + atlas.offset[level, 0]
        v = (top + north * GROUND_PPM) * shrink - 0.5 + atlas.offset[level, 1]
        return u.astype(np.float32), v.astype(np.float32)

    def _shaded(self, hits: Hits, texels: Image) -> tuple[Image, Floats]:
        """Lit image (H, W, 3) and depth (H, W) at the final resolution."""
        view, light = self.view, self.light
        small = (view.columns, view.rows)
        texture = cv2.resize(texels, small, interpolation=cv2.INTER_AREA).astype(np.float32)
        surface = (self.layer != SKY).astype(np.uint8) * np.uint8(255)
        covered = cv2.resize(surface, small, interpolation=cv2.INTER_AREA)[..., None] / np.float32(255)
        rows = np.minimum(self.layer[::2], self.layer[1::2])
        nearest = np.minimum(rows[:, ::2], rows[:, 1::2])  # GROUND > SKY > walls
        lookup = nearest * np.int32(view.columns) + np.arange(view.columns, dtype=np.int32)
        outside = np.full((2, view.columns), np.inf, np.float32)
        depth = np.vstack([hits.depth[:, ::2], outside]).take(lookup)
        gains = np.vstack(
            [light.gain(self.scene.normals)[hits.wall[:, ::2]], np.ones((2, view.columns, 3), np.float32)]
        )
        gain = gains.reshape(-1, 3).take(lookup, axis=0)

        horizon = view.rows // 2
        here = nearest[horizon:] == GROUND
        reach, east, north = self._ground_at(self.drop[2 * horizon + 1 :: 2], self.slopes[::2])
        np.copyto(depth[horizon:], reach, where=here)
        sunlit = cv2.remap(self.scene.sunlit(light), east * 2, north * 2, cv2.INTER_LINEAR)[..., None]
        shade, full = light.gain(np.array([(0, 0, -1.0), (0, 0, 1.0)]))
        np.copyto(gain[horizon:], shade + (full - shade) * sunlit, where=here[..., None])

        clear = np.exp(np.minimum(depth, 4 * VIEW_RANGE) * np.float32(-light.haze))[..., None]
        gain *= texture[..., :3]
        gain += texture[..., 3:] * (WARM / np.float32(255) * np.float32(light.lamps))
        gain *= clear
        gain += covered * (1 - clear) * self.haze
        open_rows = int(np.flatnonzero((covered < 1).any(axis=(1, 2))).max(initial=0)) + 1
        gain[:open_rows] += (1 - covered[:open_rows]) * self._sky(open_rows)
        return np.clip(gain, 0, 255).astype(np.uint8), depth

    def _sky(self, rows: int) -> Floats:
        """The first rows of the sky."""
        view = self.view
        slopes = (np.arange(view.columns) + 0.5 - view.columns / 2) / view.focal
        azimuth = (view.yaw - np.arctan(slopes) + math.pi) % (2 * math.pi)
        rise = (view.rows / 2 - np.arange(rows) - 0.5)[:, None] / view.focal / np.hypot(1, slopes)
        u = np.broadcast_to(azimuth / (2 * math.pi) * 1023, rise.shape).astype(np.float32)
        v = ((1 - rise / 1.2) * 255).astype(np.float32)
        return np.asarray(
            cv2.remap(self.scene.sky(self.light), u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        )

    def props(self, cars: list[Mesh]) -> None:
        """Draws billboards and cars, farthest first."""
        sprites, pictures = self.scene.sprites, self.scene.pictures
        spots = np.array([s.position for s in sprites] + [m.position for m in cars])
        depth, right = self.view.place(spots)
        edge = self.view.columns / 2 / self.view.focal
        seen = (depth > -3) & (depth < PROP_RANGE) & (np.abs(right) < edge * np.maximum(depth, 0) + 6)
        for i in sorted(np.flatnonzero(seen), key=lambda i: (-depth[i], i)):
            if i >= len(sprites):
                self._mesh(cars[i - len(sprites)], float(depth[i]))
            elif depth[i] > 0.8 and (not sprites[i].glows or self.light.lamps > 0):
                self._sprite(sprites[i], pictures[sprites[i].picture], float(depth[i]), float(right[i]))

    def _sprite(self, sprite: Sprite, levels: list[Floats], depth: float, right: float) -> None:
        view = self.view
        pixels = sprite.height * view.focal / depth
        level = int(np.clip(math.floor(math.log2(levels[0].shape[0] / pixels)), 0, len(levels) - 1))
        picture = levels[level]
        zoom = pixels / picture.shape[0]
        left = view.columns / 2 + right * view.focal / depth - zoom * picture.shape[1] / 2
        top = view.rows / 2 + (view.height - sprite.bottom) * view.focal / depth - pixels
        x0, x1 = max(0, math.floor(left)), min(view.columns, math.ceil(left + zoom * picture.shape[1]))
        y0, y1 = max(0, math.floor(top)), min(view.rows, math.ceil(top + pixels))
        if x0 >= x1 or y0 >= y1:
            return
        shift = np.array([[zoom, 0, left - x0 + zoom / 2 - 0.5], [0, zoom, top - y0 + zoom / 2 - 0.5]])
        patch = cv2.warpAffine(picture, shift, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
        clear = math.exp(-self.light.haze * depth)
        alpha = patch[..., 3:] / 255 * (self.depth[y0:y1, x0:x1] > depth - 0.2)[..., None]
        facing = np.array([(-math.cos(view.yaw), -math.sin(view.yaw), 0.0), (0.0, 0.0, 1.0)])
        gain = self.light.lamps if sprite.glows else self.light.gain(facing).mean(axis=0)
        under = self.image[y0:y1, x0:x1]
        over = patch[..., :3] * gain * clear * (alpha > 0) + alpha * (1 - clear) * self.haze
        self.image[y0:y1, x0:x1] = np.clip(under * (1 - alpha) + over, 0, 255).astype(np.uint8)

    def _mesh(self, mesh: Mesh, depth: float) -> None:
        view = self.view
        ahead, right = view.place(mesh.vertices[:, :2])
        if ahead.max() < NEAR:
            return
        points = np.column_stack([ahead, right, view.height - mesh.vertices[:, 2]])
        starts = np.cumsum([0, *mesh.sizes])
        to_faces = mesh.vertices[starts[:-1]] - (*view.position, view.height)
        facing = np.einsum("ij,ij->i", to_faces, mesh.normals) < 0
        clear = math.exp(-self.light.haze * max(depth, 0))
        colours = np.clip(
            mesh.colours * self.light.gain(mesh.normals) * clear + (1 - clear) * self.haze, 0, 255
        )
        polygons = []
        for i in np.flatnonzero(facing):
            corners = clipped(points[starts[i] : starts[i + 1]])
            if len(corners) > 2:
                flat = corners[:, 1:] / corners[:, :1] * view.focal + (view.columns / 2, view.rows / 2)
                polygons.append((flat, colours[i].tolist()))
        if not polygons:
            return
        outline = np.vstack([flat for flat, _ in polygons])
        x0, y0 = np.clip(np.floor(outline.min(axis=0)) - 1, 0, (view.columns, view.rows)).astype(int)
        x1, y1 = np.clip(np.ceil(outline.max(axis=0)) + 2, 0, (view.columns, view.rows)).astype(int)
        visible = self.depth[y0:y1, x0:x1] > ahead.min() - 0.3  # else behind a wall
        if not visible.any():
            return
        patch = self.image[y0:y1, x0:x1].copy()
        for flat, colour in polygons:
            fixed = ((flat - (x0, y0)) * 16 - 8).round().astype(np.int32)
            cv2.fillPoly(patch, [fixed], colour, cv2.LINE_AA, shift=4)
        np.copyto(self.image[y0:y1, x0:x1], patch, where=visible[..., None])

    def developed(self, noise_seed: int) -> Image:
        """The image with vignetting and sensor noise."""
        h, w = self.image.shape[:2]
        rows, columns = (
            np.linspace(-1, 1, h, dtype=np.float32)[:, None],
            np.linspace(-1, 1, w, dtype=np.float32),
        )
        vignette = 1 - 0.14 * (rows**2 + columns**2)
        noise = np.random.default_rng([noise_seed, 8]).standard_normal((h, w, 3), dtype=np.float32)
        noise *= np.float32(self.light.noise)
        noise += self.image * vignette[..., None]
        return np.asarray(np.clip(noise, 0, 255), np.uint8)


def clipped(corners: Array) -> Array:
    """Polygon (K, 3) of (depth, right, down) cut at the near plane."""
    if corners[:, 0].min() >= NEAR:
        return corners
    out = []
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if a[0] >= NEAR:
            out.append(a)
        if (a[0] >= NEAR) != (b[0] >= NEAR):
            out.append(a + (b - a) * (NEAR - a[0]) / (b[0] - a[0]))
    return np.array(out)
