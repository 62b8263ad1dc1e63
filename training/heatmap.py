"""Show what networks look at: `python training/heatmap.py IMAGE... --weights A --weights B`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vpr_ros.command import run
from vpr_ros.encoder import DEFAULT_WEIGHTS, check_size
from vpr_ros.errors import InputError
from vpr_ros.geotagged import Image
from vpr_ros.images.image_files import open_image
from vpr_ros.open_engine import AnyEngine, open_engine
from vpr_ros.pages.heat_figure import Column, draw_heats
from vpr_ros.pages.occlusion import SQUARE, heat_of
from vpr_ros.place_map import PlaceMap, open_map


def heatmap(
    images: list[Path],
    out: Path = Path("heatmap.png"),
    weights: list[Path] | None = None,
    map: Path | None = None,  # noqa: A002  the option is called --map
    place: int | None = None,
    square: int = SQUARE,
    device: str = "auto",
) -> None:
    """Hide each part of an image with a grey square, and show what that changes.

    Without a map: how far the descriptor moves. With one: by how much the similarity to a place falls, on the
    image, and on the picture of the place that the map keeps. One colour scale for all.

    Args:
        images: Image files, a column each; named first, they need no --images.
        out: The picture, a PNG.
        weights: Weights files, or ONNX models, a row each; without it the model that ships.
        map: Folder of a map made with the weights, of which there is one then.
        place: Number of the place of the map; without it the most similar one.
        square: Side of the square, in pixels of an image whose shorter side is 480; half of it is the stride.
        device: auto, cuda or cpu.
    """
    weights = weights or [DEFAULT_WEIGHTS]
    if not images:
        raise InputError("expected IMAGE...: files of images")
    if out.suffix.lower() != ".png":
        raise InputError(f"--out {out}: expected a name that ends in .png")
    if map is not None and len(weights) > 1:
        raise InputError(f"--map {map}: expected one --weights, those that it was built with")
    if place is not None and map is None:
        raise InputError(f"--place {place}: expected with --map, whose place it is")
    pictures = {file: _read(file) for file in images}
    names = _names(weights)
    engines = [open_engine(file, device) for file in weights]
    columns: list[Column] = []
    if map is None:
        for file, picture in tqdm(pictures.items(), unit="image", disable=None):
            heats = [heat_of(engine, picture, None, square) for engine in engines]
            columns.append(Column(file.name, picture, dict(zip(names, heats, strict=True))))
        draw_heats(out, columns, "the descriptor moves", signed=False)
    else:
        place_map = open_map(map, engines[0].fingerprint)
        if place is not None and not 0 <= place < len(place_map):
            raise InputError(f"--place {place}: {map} has places 0 to {len(place_map) - 1}")
        for file, picture in tqdm(pictures.items(), unit="image", disable=None):
            columns += _pair(names[0], engines[0], place_map, file, picture, place, square)
        draw_heats(out, columns, "similarity lost", signed=True)
    for name in names:
        values = np.concatenate([column.heats[name].values.ravel() for column in columns])
        ends = f"{values.min():.3f} to {values.max():.3f}"
        print(f"{name}: a square changes {values.mean():.3f} on average, {ends}")
    print(f"{out}: {len(names)} x {len(columns)} heat maps")


def _read(file: Path) -> Image:
    image = open_image(file).rgb()
    try:
        check_size(*image.shape[:2])
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    return image


def _pair(
    name: str,
    engine: AnyEngine,
    place_map: PlaceMap,
    file: Path,
    picture: Image,
    place: int | None,
    square: int,
) -> list[Column]:
    """Return what an image shares with a place, and what the place's picture, where one is kept, with it."""
    descriptor = engine.encode([picture])[0]
    if place is None:
        place = int(place_map.search(descriptor[None], 1)[1][0, 0])
    towards = place_map.descriptors(np.array([place]))[0]
    pair = [Column(file.name, picture, {name: heat_of(engine, picture, towards, square)})]
    kept = place_map.image(place)
    words = f"place {place}, similarity {descriptor @ towards:.2f}"
    if kept is None:
        return [pair[0]._replace(name=f"{file.name}: {words}")]
    return [*pair, Column(words, kept, {name: heat_of(engine, kept, descriptor, square)})]


def _names(weights: list[Path]) -> list[str]:
    """Return the names of the files; their paths where two are called the same."""
    times = Counter(file.stem for file in weights)
    return [file.stem if times[file.stem] == 1 else str(file) for file in weights]


if __name__ == "__main__":
    run(heatmap, positional=("images",))
