"""A small town for the demo, built from a seed: streets, houses, what stands along them, and two drives.

Frame: local metric east-north-up; x east, y north, z up, metres; yaw in radians, 0 = east, counter-clockwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np

from demo import town_pictures as draw
from demo.town_light import DUSK, EVENING, NOON, Light
from demo.town_pictures import GABLE_EAVES, KINDS, Array, Colour, Image, Texture, pick
from demo.town_view import (
    GROUND_ORIGIN,
    GROUND_PPM,
    GROUND_SIZE,
    Frame,
    Mesh,
    Scene,
    Sprite,
    View,
    Wall,
)

__all__ = ["DUSK", "EVENING", "NOON", "Light", "Town", "drive"]

ROAD_HALF, STREET_HALF, BUILDING_DEPTH = 5.0, 7.8, 8.5  # kerb and building line from the centreline, m
TREES, SIGNS = 12, 4  # pictures; a lamp and its glow come between them

Outline = list[tuple[float, float]]
# fmt: off
CAR: Outline = [(-2.1, 0.3), (2.1, 0.3), (2.15, 0.75), (1.2, 0.92), (0.55, 1.42), (-0.9, 1.45), (-1.75, 0.98),
                (-2.15, 0.92)]
VAN: Outline = [(-2.4, 0.35), (2.4, 0.35), (2.45, 0.95), (1.75, 1.2), (1.25, 2.05), (1.0, 2.15),
                (-2.35, 2.15), (-2.4, 1.0)]
# fmt: on
BIN = [(-0.32, 0.0), (0.32, 0.0), (0.38, 1.0), (0.3, 1.1), (-0.3, 1.1), (-0.38, 1.0)]
CAR_WINDOW = [(1.0, 0.97), (0.5, 1.34), (-0.85, 1.36), (-1.5, 1.0)]
VAN_WINDOW = [(0.7, 1.2), (1.6, 1.2), (1.2, 1.9), (0.7, 1.9)]
WHEEL = [(0.34 * math.cos(t), 0.34 * math.sin(t)) for t in np.arange(0, 2 * math.pi, 0.6)]
GLASS, TYRE = (44, 54, 64), (24, 24, 26)


def vehicle(outline: Outline, width: float, paint: Colour, pose: tuple[float, ...]) -> Mesh:
    """Side outline (forward, up), counter-clockwise seen from the right, extruded; pose is (x, y, yaw)."""
    x, y, yaw = pose
    half, wheeled = width / 2, outline is not BIN
    rear, front = outline[-1][0], outline[2][0]
    wide = half + 0.1
    shadow = [(rear, -wide, 0.0), (front, -wide, 0.0), (front, wide, 0.0), (rear, wide, 0.0)]
    faces: list[tuple[list[tuple[float, float, float]], Colour]] = [(shadow, (34, 34, 36))]
    for i, ((u, z), (u1, z1)) in enumerate(zip(outline, outline[1:] + outline[:1])):
        glass = wheeled and (i == 3 or (i == 5 and outline is CAR))
        strip = [(u, -half, z), (u, half, z), (u1, half, z1), (u1, -half, z1)]
        faces.append((strip, GLASS if glass else paint))
    flanks = [(outline, paint)]
    if wheeled:
        flanks.append((CAR_WINDOW if outline is CAR else VAN_WINDOW, GLASS))
        flanks += [([(axle + u, 0.34 + v) for u, v in WHEEL], TYRE) for axle in (-1.35, 1.35)]
        nose, tail = front + 0.01, rear - 0.06
        for a in (-half + 0.1, half - 0.5):
            b = a + 0.4
            faces.append(([(nose, a, 0.5), (nose, b, 0.5), (nose, b, 0.7), (nose, a, 0.7)], (236, 234, 214)))
            faces.append(
                ([(tail, b, 0.65), (tail, a, 0.65), (tail, a, 0.85), (tail, b, 0.85)], (150, 20, 24))
            )
    for side in (-1, 1):
        faces += [([(u, side * half, z) for u, z in shape[::-side]], colour) for shape, colour in flanks]
    turn = np.array([(math.cos(yaw), math.sin(yaw), 0), (-math.sin(yaw), math.cos(yaw), 0), (0, 0, 1)])
    corners = [np.array(points) @ turn + (x, y, 0.0) for points, _ in faces]
    normals = np.array([np.cross(c, np.roll(c, -1, axis=0)).sum(axis=0) for c in corners])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    colours = np.array([colour for _, colour in faces], float)
    return Mesh((x, y), np.vstack(corners), [len(c) for c in corners], normals, colours)


def rounded(corners: Array, radius: float = 10.0, step: float = 0.5) -> Array:
    """Polyline through corners (K, 2), bends rounded, as points (M, 2) about `step` metres apart."""
    points = [corners[0]]
    for before, at, after in zip(corners, corners[1:], corners[2:], strict=False):
        enter = at + (before - at) * radius / np.linalg.norm(before - at)
        leave = at + (after - at) * radius / np.linalg.norm(after - at)
        t = np.linspace(0, 1, 16)[:, None]
        points.extend((1 - t) ** 2 * enter + 2 * t * (1 - t) * at + t**2 * leave)
    path = np.array([*points, corners[-1]])
    along = np.append(0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1)))
    samples = np.linspace(0, along[-1], int(along[-1] / step) + 1)
    return np.column_stack([np.interp(samples, along, path[:, 0]), np.interp(samples, along, path[:, 1])])


def drive(route: Array, lane_offset: float, speed: float, rate: float) -> tuple[Array, Array, Array, Array]:
    """Poses of a camera that follows a route.

    route: (M, 2) metres. lane_offset: metres to the left of it. speed: m/s along it. rate: frames per second.
    Returns times (s), x, y (m, east and north) and yaw (radians, ENU, in (-pi, pi]), each of shape (N,).
    """
    along = np.append(0, np.cumsum(np.linalg.norm(np.diff(route, axis=0), axis=1)))
    times = np.arange(0, along[-1] / speed, 1 / rate)
    tangent = np.gradient(route, along, axis=0)
    at = [np.interp(times * speed, along, c) for c in (*route.T, *tangent.T)]
    yaw = np.arctan2(at[3], at[2])
    return times, at[0] - lane_offset * np.sin(yaw), at[1] + lane_offset * np.cos(yaw), yaw


def heading(p: Array, q: Array) -> tuple[float, Array, Array]:
    """Length of p -> q and unit vectors along it and to its left."""
    length = float(np.linalg.norm(q - p))
    forward = (q - p) / length
    return length, forward, np.array([-forward[1], forward[0]])


class Plan:
    """Everything that stands in the town, while it is being laid out."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.textures: list[Texture] = []
        self.walls: list[Wall] = []
        self.sprites: list[Sprite] = []
        self._drawn: dict[tuple[object, ...], int] = {}

    def texture(self, make: Callable[..., Texture], *key: int | str) -> int:
        """Index of the texture make(*key), drawn on first use."""
        name = (make, *key)
        if name not in self._drawn:
            self._drawn[name] = len(self.textures)
            self.textures.append(make(*key))
        return self._drawn[name]

    def house(self, kind: str, p: Array, q: Array, depth: Array, *, seed: int, corner: bool) -> None:
        """House on the front p -> q, seen from the right of it; depth points to its back."""
        width = int(np.clip(round(np.linalg.norm(q - p)), 4, 30))
        front = self.texture(draw.facade, kind, width, seed, int(self.rng.integers(3)))
        pixels, line = self.textures[front]
        height = len(pixels) / draw.WALL_PPM
        eaves = height * line.min()
        pitched = self.rng.random() < KINDS[kind].pitched and line.min() == 1
        plain = draw.gable_wall if pitched else draw.plain_wall
        side = self.texture(plain, int(self.rng.integers(6)))
        ridge = eaves / GABLE_EAVES
        side_height = ridge if pitched else eaves
        near_side = side
        if corner and not pitched:
            near_side = self.texture(draw.facade, kind, int(BUILDING_DEPTH), seed, 0)
        back = self.texture(draw.plain_wall, int(self.rng.integers(6)))
        self.walls.append(Wall(p, q, height, front))
        self.walls.append(Wall(q, q + depth, side_height, side))
        self.walls.append(Wall(q + depth, p + depth, eaves, back))
        self.walls.append(Wall(p + depth, p, side_height, near_side))
        if pitched:
            tiles = self.texture(draw.roof, seed % 4 if kind == "terrace" else int(self.rng.integers(8)))
            middle = depth / 2
            self.walls.append(Wall(p + middle, q + middle, ridge / 0.9, tiles))
            self.walls.append(Wall(q + middle, p + middle, ridge / 0.9, tiles))

    def street_side(self, kind: str, p: Array, q: Array, corner: bool) -> None:
        """Row of houses from p to q, seen from the right of that line."""
        length, _, left = heading(p, q)
        rng, family = self.rng, KINDS[kind]
        widths: list[float] = []
        row_width = float(rng.uniform(*family.width))
        while sum(widths) < length - family.width[0] / 2:
            widths.append(row_width if family.seeds < 9 else float(rng.uniform(*family.width)))
        marks = np.append(0, np.cumsum(widths)) / sum(widths)
        seed = int(rng.integers(family.seeds))
        for i, (start, end) in enumerate(pairwise(marks)):
            a, b = p + (q - p) * start, p + (q - p) * end
            if 0 < i < len(widths) - 1 and rng.random() < family.gap:
                low = self.texture(draw.hedge, int(rng.integers(9)))
                height = float(rng.uniform(1.0, 1.8))
                self.walls += [Wall(a, b, height, low), Wall(b, a, height, low)]
                self.tree((a + b) / 2 + left * rng.uniform(3, 6))
                continue
            setback = left * (rng.choice([0.0, 2.0]) if kind == "villas" else 0.0)
            own = seed if family.seeds < 9 else int(rng.integers(family.seeds))
            self.house(
                kind, a + setback, b + setback, left * BUILDING_DEPTH, seed=own, corner=corner and i == 0
            )

    def tree(self, position: Array) -> None:
        x, y = (float(c) for c in position)
        self.sprites.append(
            Sprite((x, y), 0.0, float(self.rng.uniform(4.5, 8.5)), int(self.rng.integers(TREES)), False)
        )

    def furniture(self, p: Array, q: Array) -> None:
        """Trees, lamps and signs along the street p -> q."""
        length, forward, left = heading(p, q)
        leafy = self.rng.choice([0.1, 0.35, 0.8])
        for s in np.arange(13.0, length - 12, 8.0):
            side = self.rng.choice([-1, 1])
            if self.rng.random() < leafy:
                self.tree(p + forward * s + left * side * (ROAD_HALF + 0.9))
        for i, s in enumerate(np.arange(16.0, length - 10, 24.0)):
            x, y = p + forward * s + left * (-1) ** i * (ROAD_HALF + 0.5)
            self.sprites.append(Sprite((float(x), float(y)), 0.0, 5.6, TREES, False))
            self.sprites.append(Sprite((float(x), float(y)), 4.5, 1.6, TREES + 1, True))
        for s in (10.5, length - 10.5, *self.rng.uniform(20, length - 20, 2)):
            x, y = p + forward * s + left * self.rng.choice([-1, 1]) * (ROAD_HALF + 0.4)
            self.sprites.append(
                Sprite((float(x), float(y)), 0.0, 2.7, TREES + 2 + int(self.rng.integers(SIGNS)), False)
            )


def paint_line(ground: Image, p: Array, q: Array, width: float, colour: Colour) -> None:
    """Straight band from p to q on the ground; metres."""
    side = heading(p, q)[2] * width / 2
    quad = (np.array([p + side, q + side, q - side, p - side]) - GROUND_ORIGIN) * GROUND_PPM
    cv2.fillConvexPoly(ground, (quad * 16).round().astype(np.int32), colour, cv2.LINE_AA, 4)


def paint_markings(ground: Image, rng: np.random.Generator, p: Array, q: Array) -> None:
    """Centre line, parking bays, zebra crossings and repairs of the street p -> q."""
    length, forward, left = heading(p, q)
    white = (222.0, 222.0, 218.0)
    for s in np.arange(14, length - 14, 6.0):
        at = p + forward * s
        paint_line(ground, at, at + forward * 3, 0.15, white)
        for side in (-1, 1):
            paint_line(ground, at + left * side * 3, at + left * side * 4.9, 0.12, white)
    for crossing in (9.0, length - 11.0):
        for across in np.arange(-4.5, 5, 1.0):
            at = p + forward * crossing + left * across
            paint_line(ground, at, at + forward * 2, 0.45, white)
    for _ in range(int(length / 9)):
        at = p + forward * rng.uniform(12, length - 12) + left * rng.uniform(-3, 3)
        grey, size = float(rng.uniform(68, 112)), rng.uniform((0.4, 0.4), (5, 1.4))
        paint_line(ground, at, at + forward * size[0], float(size[1]), (grey, grey, grey))


def parked(rng: np.random.Generator, p: Array, q: Array) -> list[Mesh]:
    """Cars and vans in some parking bays of the street p -> q, bins on its pavements."""
    length, forward, left = heading(p, q)
    meshes = []
    for side in (-1, 1):
        yaw = math.atan2(forward[1], forward[0]) + (math.pi if side > 0 else 0.0)
        for s in np.arange(17, length - 16, 6.0):
            chance, (ahead, aside) = rng.random(), rng.uniform((-0.4, 3.85), (0.4, 4.05))
            bay = p + forward * (s + ahead) + left * side * aside
            if chance < 0.42:
                meshes.append(vehicle(CAR, 1.75, pick(rng, "car"), (*bay, yaw)))
            elif chance < 0.48:
                meshes.append(vehicle(VAN, 1.9, pick(rng, "car"), (*bay, yaw)))
            elif chance < 0.54:
                meshes.append(vehicle(BIN, 0.6, pick(rng, "vivid"), (*(bay + left * side * 2.6), yaw)))
    return meshes


class Town:
    """A town built from a seed alone; renders what a camera on its streets would see."""

    def __init__(self, seed: int = 0):
        rng = np.random.default_rng([seed, 5])
        xs, ys = np.array([0.0, 86, 176, 270]), np.array([0.0, 76, 152, 236])
        self._nodes = np.stack(np.meshgrid(xs, ys, indexing="ij"), axis=-1) + rng.uniform(-6, 6, (4, 4, 2))
        self._streets = self._lay_streets()
        plan = Plan(rng)
        self._build_blocks(plan)
        for p, q in self._streets:
            plan.furniture(p, q)
        trees = [draw.tree_picture(i) for i in range(TREES)]
        pictures = [*trees, draw.lamp_picture(), draw.glow_picture(), *map(draw.sign_picture, range(SIGNS))]
        self._scene = Scene(plan.walls, plan.textures, self._paint_ground(rng), plan.sprites, pictures)
        self._cars: dict[int, list[Mesh]] = {}  # every frame of a drive asks for the same ones

    def route(self, name: str) -> Array:
        """Centreline (M, 2) in metres of the drive "first" or "second".

        Both run the same streets the same way, but for one block: the first drive goes around it and the
        second takes the diagonal street, which the first never sees.
        """
        around = {"first": [(2, 1)], "second": []}[name]
        path = [(0, 0), (1, 0), (1, 1), *around, (2, 2), (3, 2), (3, 3), (2, 3)]
        corners = np.array([self._nodes[i] for i in path])
        corners[0] += (corners[1] - corners[0]) * 0.3
        corners[-1] += (corners[-2] - corners[-1]) * 0.15
        return rounded(corners)

    def _lay_streets(self) -> list[tuple[Array, Array]]:
        n = self._nodes
        east = [(n[i, j], n[i + 1, j]) for i in range(3) for j in range(4)]
        north = [(n[i, j], n[i, j + 1]) for i in range(4) for j in range(3)]
        return [*east, *north, (n[1, 1], n[2, 2])]

    def _build_blocks(self, plan: Plan) -> None:
        """Houses around every block, and a closing row outside the outermost streets."""
        n = self._nodes
        blocks = []
        for i in range(3):
            for j in range(3):
                a, b, c, d = n[i, j], n[i + 1, j], n[i + 1, j + 1], n[i, j + 1]
                blocks += [[a, b, c], [a, c, d]] if (i, j) == (1, 1) else [[a, b, c, d]]
        rim = [*n[0, :3], *n[:3, 3], *n[3, :0:-1], *n[:0:-1, 0]]  # clockwise: houses stand outside
        for block in (*blocks, rim):
            self._line_block(plan, np.array(block))

    def _line_block(self, plan: Plan, corners: Array) -> None:
        """Rows of houses to the left of a closed polygon (K, 2) of street centrelines."""
        forward = np.roll(corners, -1, axis=0) - corners
        forward /= np.linalg.norm(forward, axis=1, keepdims=True)
        left = np.column_stack([-forward[:, 1], forward[:, 0]])
        before = np.roll(left, 1, axis=0)
        mitre = (left + before) / (1 + np.sum(left * before, axis=1, keepdims=True))
        inner = corners + STREET_HALF * mitre
        bearing = np.arctan2(forward[:, 1], forward[:, 0])
        turn = (bearing - np.roll(bearing, 1) + math.pi) % (2 * math.pi) - math.pi
        for p, q, along, here, there in zip(
            inner, np.roll(inner, -1, axis=0), forward, turn, np.roll(turn, -1)
        ):
            # The plot in a sharp corner belongs to the row that starts there.
            start = max(0.0, -BUILDING_DEPTH / math.tan(here)) if here > 0.5 else 0.0
            end = (
                BUILDING_DEPTH * (1 / math.sin(there) + max(0.0, -1 / math.tan(there)))
                if there > 0.5
                else 0.0
            )
            kind = str(plan.rng.choice(list(KINDS), p=[0.24, 0.26, 0.26, 0.12, 0.12]))
            plan.street_side(kind, p + along * start, q - along * end, here > 0.5)

    def _paint_ground(self, rng: np.random.Generator) -> Image:
        """Ground seen from above, (h, w, 4); row 0 is the southern edge."""
        w, h = GROUND_SIZE[0] * GROUND_PPM, GROUND_SIZE[1] * GROUND_PPM
        ground = np.full((h, w, 3), (104, 112, 80), np.uint8)
        for width, colour in ((STREET_HALF, (158, 152, 144)), (ROAD_HALF + 0.25, (186, 184, 180))):
            for p, q in self._streets:  # pavements, then kerbs
                reach = heading(p, q)[1] * width  # to the far side of the junction
                paint_line(ground, p - reach, q + reach, 2 * width, colour)
        for p, q in self._streets:
            grey = float(rng.uniform(82, 108))
            reach = heading(p, q)[1] * ROAD_HALF
            paint_line(ground, p - reach, q + reach, 2 * ROAD_HALF, (grey, grey, grey + 3))
        for p, q in self._streets:
            paint_markings(ground, rng, p, q)
        grain = draw.mottle(rng, 600, 660, 2, 4) + draw.mottle(rng, 600, 660, 60, 3)
        out = np.zeros((h, w, 4), np.uint8)
        out[..., :3] = np.clip(ground + np.tile(grain, (h // 600, w // 660))[..., None], 0, 255)
        return out

    def _parked(self, cars_seed: int) -> list[Mesh]:
        if cars_seed not in self._cars:
            rng = np.random.default_rng([cars_seed, 6])
            self._cars[cars_seed] = [car for p, q in self._streets for car in parked(rng, p, q)]
        return self._cars[cars_seed]

    # --- one frame ---

    def render(self, x: float, y: float, yaw: float, light: Light, *, size: tuple[int, int] = (240, 320),
               cars_seed: int = 0, camera_height: float = 1.5, fov: float = math.radians(80),
               noise_seed: int = 0) -> Image:  # fmt: skip
        """RGB image (H, W, 3) of the town from (x, y), metres, looking along yaw, radians.

        size: (height, width). camera_height: metres. fov: horizontal, radians. cars_seed decides which
        cars, vans and bins stand at the kerbs. The bytes depend on the town's seed and these arguments alone.
        """
        height, width = size
        view = View(np.array([x, y]), yaw, camera_height, width, height, width / 2 / math.tan(fov / 2))
        frame = Frame(view, light, self._scene)
        frame.props(self._parked(cars_seed))
        return frame.developed(noise_seed)
