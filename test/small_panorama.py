"""Panoramas of scenes that are known in every direction: what a view of them shows can be computed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from test.small_world import STEP
from vpr_ros.geotagged import Image


def scene(directions: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Return (..., 3) RGB, 0 to 255, of (..., 3) directions (right, up, forward): smooth everywhere."""
    random = np.random.default_rng(seed)
    waves = random.normal(size=(3, 3)) * 8
    return np.asarray(127.5 + 100 * np.sin(directions @ waves + random.uniform(0, 6, 3)))


def directions_of(height: int) -> NDArray[np.float64]:
    """Return (height, 2 * height, 3): where each pixel of a panorama looks."""
    rise = np.pi * (0.5 - (np.arange(height) + 0.5) / height)[:, None]
    turn = 2 * np.pi * ((np.arange(2 * height) + 0.5) / (2 * height) - 0.5)
    right, up, forward = np.cos(rise) * np.sin(turn), np.sin(rise), np.cos(rise) * np.cos(turn)
    return np.stack(np.broadcast_arrays(right, up, forward), axis=-1)


def panorama(height: int = 256, seed: int = 0) -> Image:
    """Return a (height, 2 * height, 3) panorama of a scene."""
    return np.rint(scene(directions_of(height), seed)).astype(np.uint8)


def view_directions(width: int, height: int, fov: float, heading: float, pitch: float) -> NDArray[np.float64]:
    """Return (height, width, 3): where each pixel of a camera looks, by matrices, unlike what is tested."""
    focal = width / 2 / np.tan(np.radians(fov) / 2)
    x, y = np.meshgrid(np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2)
    rays = np.stack([x, -y, np.full_like(x, focal)], axis=-1)
    (cp, sp), (ch, sh) = ((np.cos(angle), np.sin(angle)) for angle in np.radians([pitch, heading]))
    upwards = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    around = np.array([[ch, 0, sh], [0, 1, 0], [-sh, 0, ch]])
    rays = rays @ (around @ upwards).T
    return np.asarray(rays / np.linalg.norm(rays, axis=-1, keepdims=True))


def write_panoramas(folder: Path, headings: ArrayLike, height: int = 128) -> Path:
    """Write panoramas of different scenes, 100 m apart northwards, with images.csv; return the folder."""
    folder.mkdir(parents=True)
    lines = ["image,latitude,longitude,altitude,heading,stamp,session"]
    for number, heading in enumerate(np.asarray(headings, float).tolist()):
        cv2.imwrite(str(folder / f"{number}.png"), panorama(height, number)[..., ::-1])
        known = "" if np.isnan(heading) else heading
        lines.append(f"{number}.png,{48 + STEP * number},11.0,500.5,{known},{10**9 * number},ride")
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    return folder
