"""When the images of a folder were taken: by images.csv, by EXIF, or by their names."""

from __future__ import annotations

import re
from pathlib import Path

from vpr_ros.drives.datasets.written_time import stamp_of
from vpr_ros.drives.folder import TABLE
from vpr_ros.errors import InputError
from vpr_ros.files.csv_table import read_csv
from vpr_ros.images.exif import read_exif, taken
from vpr_ros.images.image_files import check_below, images_below

#: Names that are a number: how many digits before the point count from 1970, and what one of it is.
_UNITS = {10: 10**9, 13: 10**6, 16: 10**3, 19: 1}
_NUMBER = re.compile(r"(\d{10}|\d{13}|\d{16}|\d{19})(?:[._](\d{1,9}))?", re.ASCII)
#: Names of phones and drones: IMG_20250702_123000, 20250702-123000123.
_WRITTEN = re.compile(r"(?<!\d)((?:19|20)\d{6})[_-](\d{6})(\d{3})?(?!\d)", re.ASCII)


def image_times(folder: Path) -> dict[str, int]:
    """Return the nanoseconds at which each image below a folder was taken, 0 where nothing says it.

    Args:
        folder: with images.csv of the columns image and stamp (ns), or images with EXIF, or images whose
            names are a time: s, ms, us or ns since 1970, or a date and time of day.
    """
    if (folder / TABLE).is_file():
        return _by_table(folder / TABLE)
    return {
        file.relative_to(folder).as_posix(): taken(read_exif(file)) or _by_name(file)
        for file in images_below(folder)
    }


def _by_table(file: Path) -> dict[str, int]:
    _, lines = read_csv(file, ("image", "stamp"), "image and stamp, in nanoseconds")
    stamps = {}
    for number, line in lines:
        check_below(line["image"], file)
        text = line["stamp"]
        if not text.isascii() or not text.isdigit() or int(text) >= 2**63:
            raise InputError(f"{file}:{number}: stamp is '{text[:40]}': expected nanoseconds")
        stamps[line["image"]] = int(text)
    return stamps


def _by_name(file: Path) -> int:
    if number := _NUMBER.fullmatch(file.stem):
        unit = _UNITS[len(number[1])]
        fraction = int((number[2] or "").ljust(9, "0")) * unit // 10**9
        stamp = int(number[1]) * unit + fraction
        return stamp if stamp < 2**63 else 0
    if written := _WRITTEN.search(file.stem):
        return stamp_of(f"{written[1]}_{written[2]}{'.' + written[3] if written[3] else ''}")
    return 0
