"""Pictures for the demo's town: facades, walls, hedges, trees and signs, all drawn from seeds."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Image = NDArray[np.uint8]
Colour = tuple[float, float, float]

LEVELS, GUTTER = 5, 8  # mip levels of the atlas, replicated texels around each texture
WALL_PPM = 20  # texels per metre
GABLE_EAVES = 0.66  # height of the eaves as a share of the ridge
PROFILE = 64  # samples of a wall's roof line
WARM = np.array([255.0, 196.0, 110.0], np.float32)  # lit windows and lamps


class Kind(NamedTuple):
    """What a family of facades has in common."""

    width: tuple[float, float]
    storeys: tuple[int, int]
    materials: tuple[str, ...]
    seeds: int  # how many designs exist: few makes streets look alike
    pitched: float  # share with a pitched roof
    gap: float  # share of plots left open


KINDS = {
    "terrace": Kind((5.6, 6.2), (2, 2), ("brick", "plaster"), 2, 1.0, 0.0),
    "shops": Kind((7.0, 13.0), (2, 4), ("plaster", "brick", "timber"), 10_000, 0.3, 0.03),
    "houses": Kind((7.0, 12.0), (2, 4), ("plaster", "brick", "timber"), 10_000, 0.6, 0.1),
    "villas": Kind((9.0, 13.0), (1, 2), ("plaster", "brick", "timber"), 10_000, 1.0, 0.45),
    "panel": Kind((20.0, 28.0), (4, 5), ("panel",), 3, 0.0, 0.2),
}
PALETTE = {
    "brick": [(152, 82, 62), (176, 116, 88), (118, 68, 58), (190, 150, 110)],
    "plaster": [(228, 216, 190), (216, 186, 126), (176, 198, 178), (212, 160, 140), (164, 184, 210),
                (238, 234, 226), (204, 140, 96), (186, 120, 116)],
    "panel": [(178, 178, 172), (150, 164, 172), (196, 182, 158)],
    "timber": [(234, 226, 206), (226, 204, 160), (214, 190, 176)],
    "trim": [(240, 238, 230), (84, 60, 44), (60, 84, 70), (70, 74, 84), (200, 190, 170)],
    "vivid": [(178, 32, 36), (24, 84, 150), (24, 112, 64), (228, 170, 30), (96, 36, 96), (230, 110, 30),
              (34, 36, 42)],
    "roof": [(150, 74, 56), (92, 88, 92), (112, 66, 54), (70, 78, 90)],
    "car": [(200, 202, 206), (40, 42, 48), (150, 24, 28), (34, 66, 128), (232, 232, 228), (96, 102, 106),
            (60, 96, 70), (206, 164, 48)],
}  # fmt: skip
SHOPS = [
    "BAKERY", "CAFE", "BOOKS", "PHARMACY", "FLOWERS", "BANK", "PIZZA", "HOTEL", "TAILOR", "MARKET", "TOYS",
    "OPTICS", "BIKES", "SHOES", "MUSIC", "TEA", "HAIR", "POST", "FISH", "RADIO", "PAINTS", "ART", "GRILL",
]  # fmt: skip


def pick(rng: np.random.Generator, name: str) -> Colour:
    """A colour of the palette, slightly varied."""
    options = np.array(PALETTE[name], float)
    r, g, b = np.clip(options[rng.integers(len(options))] + rng.normal(0, 5, 3), 0, 255)
    return float(r), float(g), float(b)


def mottle(rng: np.random.Generator, height: int, width: int, cell: int, strength: float) -> Floats:
    """Smooth noise (height, width)."""
    coarse = rng.normal(0, strength, (height // cell + 2, width // cell + 2)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


class Canvas:
    """A texture being drawn in metres: x from its left edge, z up from the ground; RGB and glow channels."""

    def __init__(self, rng: np.random.Generator, width: float, height: float, material: str, colour: Colour):
        self.rng = rng
        self.width, self.height = width, height
        h, w = round(height * WALL_PPM), round(width * WALL_PPM)
        tone = mottle(rng, h, w, 24, 5.0) + mottle(rng, h, w, 3, 3.0)
        if material == "brick":
            tone += self._bricks(h, w)
        tone[-30:] -= np.linspace(0, 22, 30, dtype=np.float32)[-h:, None]  # splashed dirt
        pixels = np.zeros((h, w, 4), np.float32)
        pixels[..., :3] = np.array(colour) + tone[..., None]
        self.pixels: Image = np.clip(pixels, 0, 255).astype(np.uint8)

    def _bricks(self, h: int, w: int) -> Floats:
        cells = self.rng.normal(0, 13, (h // 4 + 1, w // 10 + 2))
        rows, columns = np.mgrid[:h, :w]
        course = rows // 4
        tone = cells[course, (columns + 5 * (course % 2)) // 10]
        tone[rows % 4 == 0] += 16  # mortar
        return np.asarray(tone, np.float32)

    def box(self, x: float, z: float, w: float, h: float, colour: Colour, *, glow: float = 0.0) -> None:
        """Filled rectangle with its lower left corner at (x, z)."""
        left, right = round(x * WALL_PPM), round((x + w) * WALL_PPM) - 1
        top, bottom = round((self.height - z - h) * WALL_PPM), round((self.height - z) * WALL_PPM) - 1
        cv2.rectangle(self.pixels, (left, top), (max(left, right), max(top, bottom)), (*colour, glow), -1)

    def window(self, x: float, z: float, w: float, h: float, *, frame: Colour, bars: int) -> None:
        lit = self.rng.random() < 0.45
        glow = float(self.rng.uniform(110, 230)) if lit else 0.0
        tone = float(self.rng.uniform(28, 70))
        self.box(x - 0.12, z - 0.12, w + 0.24, h + 0.24, frame)
        self.box(x - 0.2, z - 0.22, w + 0.4, 0.12, (190, 186, 178))  # sill
        self.box(x, z, w, h, (tone, tone + 10, tone + 20), glow=glow)
        self.box(x, z + 0.55 * h, w, 0.45 * h, (tone + 34, tone + 48, tone + 62), glow=glow)  # reflected sky
        curtain = self.rng.random()
        if curtain < 0.4:
            for side in (x, x + 0.76 * w):
                self.box(side, z, 0.24 * w, h, (206, 198, 184), glow=glow * 0.6)
        elif curtain < 0.6:
            self.box(x, z + 0.45 * h, w, 0.55 * h, (198, 190, 170), glow=glow * 0.5)
        for bar in range(1, bars + 1):
            self.box(x + w * bar / (bars + 1) - 0.05, z, 0.1, h, frame)
        if bars:
            self.box(x, z + 0.62 * h, w, 0.1, frame)

    def door(self, x: float, colour: Colour) -> None:
        self.box(x - 0.15, 0, 1.3, 2.5, (212, 206, 194))
        self.box(x, 0.15, 1.0, 2.2, colour)
        self.box(x + 0.2, 1.4, 0.6, 0.7, (60, 72, 84), glow=120)

    def shop(self, frame: Colour) -> None:
        """Shop window, fascia with lettering, and sometimes an awning, over the whole ground floor."""
        colour, text = pick(self.rng, "vivid"), SHOPS[self.rng.integers(len(SHOPS))]
        self.box(0.3, 0, self.width - 0.6, 3.0, frame)
        panes = max(2, round(self.width / 2.6))
        pane = (self.width - 2.2) / panes
        for i in range(panes):
            self.box(0.5 + i * pane, 0.5, pane - 0.15, 1.95, (52, 60, 66), glow=190)
            for _ in range(4):  # goods on display
                x, h = self.rng.uniform(0, pane - 0.6), self.rng.uniform(0.3, 1.1)
                self.box(0.5 + i * pane + x, 0.5, 0.4, h, pick(self.rng, "vivid"), glow=90)
        self.box(self.width - 1.5, 0.1, 1.0, 2.3, colour)
        self.box(self.width - 1.35, 0.5, 0.7, 1.7, (62, 72, 80), glow=150)
        self.box(0.3, 2.6, self.width - 0.6, 0.75, colour, glow=40)
        (w, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 1.0, 2)
        scale = min(0.5, (self.width - 1.2) * WALL_PPM / w)
        ink = (30, 30, 34) if sum(colour) > 330 else (246, 240, 220)
        start = (round((self.width * WALL_PPM - w * scale) / 2), round((self.height - 2.77) * WALL_PPM))
        cv2.putText(self.pixels, text, start, cv2.FONT_HERSHEY_DUPLEX, scale, (*ink, 130), 1, cv2.LINE_AA)
        if self.rng.random() < 0.4:
            stripe = pick(self.rng, "vivid")
            for i in range(int(self.width - 0.6)):
                self.box(0.3 + i, 2.1, 1.0, 0.5, stripe if i % 2 else (238, 234, 224))

    def balcony(self, x: float, z: float, w: float) -> None:
        self.box(x, z - 0.2, w, 0.2, (150, 148, 142))
        self.box(x, z - 0.32, w, 0.12, (70, 68, 66))  # its shadow
        for bar in np.arange(x, x + w, 0.25):
            self.box(float(bar), z, 0.1, 0.9, (52, 52, 56))
        self.box(x, z + 0.85, w, 0.12, (52, 52, 56))

    def beams(self, storey: float) -> None:
        """Half-timbering above the ground floor."""
        beam, step = (84, 58, 42), float(self.rng.uniform(1.1, 1.7))
        for x in np.arange(0, self.width, step):
            self.box(float(x), storey, 0.2, self.height, beam)
        for z in np.arange(storey, self.height, storey / 2):
            self.box(0, float(z), self.width, 0.2, beam)


class Texture(NamedTuple):
    pixels: Image  # (h, w, 4): RGB and glow
    profile: Array  # (PROFILE,) height of the roof line as a share of the wall's height


def roof_line(rng: np.random.Generator, gabled: bool) -> Array:
    """Roof line of a flat-roofed front: straight, stepped, curved or triangular gable."""
    across = np.abs(np.linspace(-1, 1, PROFILE))
    shapes = [np.zeros(PROFILE), np.floor((1 - across) * 5) / 5, np.sqrt(1 - across**2), 1 - across]
    shape = shapes[rng.integers(len(shapes)) if gabled else 0]
    return np.asarray(0.84 + 0.16 * shape if shape.any() else np.ones(PROFILE))


def facade(kind: str, width: float, seed: int, variant: int) -> Texture:
    """Front of a house; variant changes only small things, as along a terraced row."""
    rng, family = np.random.default_rng([seed, *kind.encode()]), KINDS[kind]
    material = str(rng.choice(family.materials))
    storeys = int(rng.integers(family.storeys[0], family.storeys[1] + 1))
    storey = float(rng.uniform(2.8, 3.3))
    ground = 3.6 if kind == "shops" else storey
    height = ground + storey * (storeys - 1) + 0.5
    line = roof_line(rng, kind in ("shops", "houses") and storeys > 2)
    canvas = Canvas(rng, width, height / line.min(), material, pick(rng, material))
    if material == "timber":
        canvas.beams(ground)
    if material == "panel":
        panel_joints(canvas, storey)
    frame, bars = pick(rng, "trim"), int(rng.integers(0, 3))
    w, h = float(rng.uniform(0.8, 1.7)), float(rng.uniform(1.2, 1.8))
    bays = max(1 if width < 5 else 2, int((width - 0.6) / (w + rng.uniform(0.6, 1.6))))
    balconies = int(rng.integers(bays)) if kind in ("houses", "panel") and rng.random() < 0.6 else -1
    doorway = int(rng.integers(bays))
    accent = PALETTE["vivid"][variant % len(PALETTE["vivid"])]
    for floor in range(1 if kind == "shops" else 0, storeys):
        z = 0.9 if floor == 0 else ground + storey * (floor - 1) + 0.8
        for bay in range(bays):
            middle = (bay + 0.5) * width / bays
            if floor == 0 and bay == doorway:
                canvas.door(middle - 0.5, accent)
                continue
            canvas.window(middle - w / 2, z, w, h, frame=frame, bars=bars)
            if floor and balconies >= 0 and bay % (balconies + 1) == balconies:
                canvas.balcony(middle - w / 2 - 0.4, z - 0.5, w + 0.8)
    if kind == "shops":
        canvas.shop(frame)
    canvas.box(0, height - 0.35, width, 0.25, pick(rng, "trim"))  # cornice
    return Texture(canvas.pixels, line)


def panel_joints(canvas: Canvas, storey: float) -> None:
    accent = pick(canvas.rng, "vivid")
    for z in np.arange(storey, canvas.height, storey):
        canvas.box(0, float(z) - 0.03, canvas.width, 0.1, (112, 112, 110))
        canvas.box(0, float(z) + 0.1, canvas.width, 0.5, tuple(0.5 * c + 90 for c in accent))  # type: ignore[arg-type]
    for x in np.arange(0, canvas.width, 3.4):
        canvas.box(float(x), 0, 0.1, canvas.height, (112, 112, 110))


def plain_wall(seed: int) -> Texture:
    """Side or back of a house, high enough for any; a few small windows."""
    rng = np.random.default_rng([seed, 1])
    material = ("brick", "plaster")[seed % 2]
    canvas = Canvas(rng, 8.5, 17.0, material, pick(rng, material))
    for z in (1.2, 4.2, 7.2, 10.2):
        canvas.window(float(rng.uniform(1, 6)), z, 0.9, 1.2, frame=(220, 216, 206), bars=1)
    return Texture(canvas.pixels, np.ones(PROFILE))


def gable_wall(seed: int) -> Texture:
    """plain_wall that rises to a ridge in its middle."""
    rise = 1 - np.abs(np.linspace(-1, 1, PROFILE))
    return Texture(plain_wall(seed).pixels, GABLE_EAVES + (1 - GABLE_EAVES) * rise)


def roof(seed: int) -> Texture:
    """Tiled roof with a chimney, seen above the eaves."""
    rng = np.random.default_rng([seed, 2])
    canvas = Canvas(rng, 8.0, 17.0, "plaster", pick(rng, "roof"))
    canvas.pixels[::6, :, :3] = canvas.pixels[::6, :, :3] // 4 * 3
    line = np.full(PROFILE, 0.9)
    chimney = int(rng.integers(8, PROFILE - 16))
    line[chimney : chimney + 6] = 1.0
    canvas.box(chimney / 8, 0, 0.75, 0.3, (120, 80, 66))
    return Texture(canvas.pixels, line)


def hedge(seed: int) -> Texture:
    """Hedge, board fence or garden wall."""
    rng = np.random.default_rng([seed, 3])
    style = seed % 3
    colour = ((62, 92, 44), (140, 108, 76), (168, 158, 142))[style]
    canvas = Canvas(rng, 8.0, 2.0, ("plaster", "plaster", "brick")[style], colour)
    line = np.ones(PROFILE)
    if style == 0:
        leaves = rng.normal(0, 22, (*canvas.pixels.shape[:2], 1))
        canvas.pixels[..., :3] = np.clip(
            canvas.pixels[..., :3] + cv2.blur(leaves, (3, 3))[..., None] * 1.8, 0, 255
        )
        line -= rng.uniform(0, 0.12, PROFILE)
    elif style == 1:
        canvas.pixels[:, ::6, :3] //= 2
        line[::2] -= 0.06
    return Texture(canvas.pixels, line)


# --- mip levels ---


class Atlas:
    """All textures and their mip levels in one image, so that a frame needs a single remap."""

    def __init__(self, textures: list[Image]):
        cell = 1 << (LEVELS - 1)  # keeps texels of a texture together at every level
        sizes = [tuple(-(-(n + 2 * GUTTER) // cell) * cell for n in t.shape[:2]) for t in textures]
        total = max(w for _, w in sizes)
        x = y = shelf = 0
        self.left, self.base, self.width = (np.zeros(len(textures), np.float32) for _ in range(3))
        corners = {}
        for i in sorted(range(len(textures)), key=lambda i: -sizes[i][0]):
            h, w = sizes[i]
            if x + w > total:
                x, y = 0, y + shelf
            shelf = h if x == 0 else shelf
            corners[i] = (y, x)
            x += w
        sheet = np.zeros((y + shelf, total, 4), np.uint8)
        for i, (y, x) in corners.items():
            (h, w), (th, tw) = sizes[i], textures[i].shape[:2]
            margins = (GUTTER, h - th - GUTTER, GUTTER, w - tw - GUTTER)
            sheet[y : y + h, x : x + w] = cv2.copyMakeBorder(textures[i], *margins, cv2.BORDER_REPLICATE)
            self.left[i], self.base[i], self.width[i] = x + GUTTER, y + GUTTER + th, tw
        self.offset = np.zeros((LEVELS, 2), np.float32)  # (x, y) of each level
        self.image: Image = np.zeros((sheet.shape[0] * 3 // 2, total, 4), np.uint8)
        x, y = 0, 0
        for level in range(LEVELS):
            h, w = sheet.shape[:2]
            self.image[y : y + h, x : x + w] = sheet
            self.offset[level] = x, y
            x, y = (x + w, y) if level else (0, h)
            sheet = cv2.resize(sheet, (w // 2, h // 2), interpolation=cv2.INTER_AREA).astype(np.uint8)


def mip_level(texels: Floats) -> NDArray[np.intp]:
    """Level at which a sample covers about one texel."""
    return np.asarray(np.clip(np.log2(np.maximum(texels, 1)).round(), 0, LEVELS - 1), np.intp)


def pyramid(picture: Floats) -> list[Floats]:
    """The picture and its halvings down to a few pixels."""
    levels = [picture]
    while levels[-1].shape[1] > 8:
        h, w = levels[-1].shape[:2]
        half = cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(half, np.float32))
    return levels


# --- billboards: premultiplied RGBA ---


def tree_picture(seed: int) -> Floats:
    """Premultiplied RGBA crown of leaf clusters on a trunk."""
    rng = np.random.default_rng([seed, 4])
    picture = np.zeros((192, 144, 4), np.uint8)
    shape = seed % 3  # round, conical, columnar
    green = np.array([(74, 112, 48), (38, 80, 54), (104, 124, 50)][(seed // 3 + shape) % 3]) + rng.normal(
        0, 8, 3
    )
    trunk = tuple(float(c) for c in rng.normal((84, 66, 50), 6))
    cv2.line(picture, (72, 191), (72, 90), (*trunk, 255), 7, cv2.LINE_AA)
    for _ in range(5):
        tip = (int(rng.integers(40, 104)), int(rng.integers(60, 110)))
        cv2.line(picture, (72, int(rng.integers(110, 140))), tip, (*trunk, 255), 3, cv2.LINE_AA)
    angle, reach = rng.uniform(0, 2 * math.pi, 260), np.sqrt(rng.uniform(0, 1, 260))
    across, up = reach * np.cos(angle), reach * np.sin(angle)  # unit disc
    spread = (58.0, 50.0 * 0.9, 26.0)[shape]
    if shape == 1:
        across = across * (1.05 - up) / 1.4
    x, y = 72 + spread * across, (68, 80, 80)[shape] - (52, 74, 72)[shape] * up
    for i in np.argsort(rng.normal(up * 0.5, 0.5)):
        shade = 0.72 + 0.22 * up[i] - 0.12 * across[i] + rng.normal(0, 0.1)
        colour = tuple(float(c) for c in np.clip(green * max(shade, 0.3) * 1.2, 0, 255))
        cv2.circle(
            picture, (round(x[i]), round(y[i])), int(rng.integers(4, 10)), (*colour, 255), -1, cv2.LINE_AA
        )
    return premultiplied(picture)


def premultiplied(picture: Image) -> Floats:
    out = picture.astype(np.float32)
    out[..., :3] *= out[..., 3:] / 255  # antialiased drawing left the edges half dark
    return out


def sign_picture(style: int) -> Floats:
    """Premultiplied RGBA traffic sign on a pole."""
    picture = np.zeros((96, 32, 4), np.uint8)
    cv2.line(picture, (16, 20), (16, 95), (130, 132, 136, 255), 2)
    if style == 0:  # give way
        cv2.fillPoly(picture, [np.array([(2, 4), (30, 4), (16, 29)])], (196, 24, 30, 255))
        cv2.fillPoly(picture, [np.array([(8, 8), (24, 8), (16, 22)])], (240, 240, 240, 255))
    elif style == 1:  # speed limit
        cv2.circle(picture, (16, 15), 14, (200, 24, 30, 255), -1)
        cv2.circle(picture, (16, 15), 10, (240, 240, 240, 255), -1)
        cv2.putText(picture, "30", (8, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (20, 20, 20, 255), 1)
    else:  # parking, or a street number plate in green
        cv2.rectangle(picture, (3, 2), (29, 28), ((24, 70, 160), (20, 110, 60))[style % 2] + (255,), -1)
        cv2.putText(picture, "PA"[style % 2], (9, 22), cv2.FONT_HERSHEY_DUPLEX, 0.7, (244, 244, 244, 255), 2)
    return premultiplied(picture)


def lamp_picture() -> Floats:
    picture = np.zeros((192, 32, 4), np.uint8)
    cv2.line(picture, (16, 10), (16, 191), (72, 76, 80, 255), 3)
    cv2.rectangle(picture, (6, 4), (26, 10), (72, 76, 80, 255), -1)
    return premultiplied(picture)


def glow_picture() -> Floats:
    rows, columns = np.mgrid[-1:1:48j, -1:1:48j]
    alpha = 255 * np.clip(1 - np.hypot(rows, columns), 0, 1) ** 1.5
    return np.dstack([*(WARM / 255)[:, None, None] * alpha, alpha]).astype(np.float32)
