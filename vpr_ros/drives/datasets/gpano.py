"""What a panorama's file says of it: Google's photo sphere properties (GPano) in its XMP."""

from __future__ import annotations

import re

from vpr_ros.errors import InputError

#: A property as XMP has it, an attribute or an element.
_PROPERTY = re.compile(rb"GPano:(\w+)\s*(?:=\s*[\"']|>)\s*([\w.-]{1,40})")


def check_whole(data: bytes) -> None:
    """Raise InputError where an image file says that it is a part of a panorama, or of another projection."""
    said = {name.decode(): value.decode() for name, value in _PROPERTY.findall(data)}
    projection = said.get("ProjectionType", "equirectangular")
    if projection.lower() != "equirectangular":
        raise InputError(f"its XMP says '{projection}' panorama: expected an equirectangular one")
    for side in ("Width", "Height"):
        part, full = said.get(f"CroppedAreaImage{side}Pixels"), said.get(f"FullPano{side}Pixels")
        if part and full and part != full:
            raise InputError(
                f"its XMP says that it is cropped, {part} of {full} pixels of {side.lower()}: "
                "expected all of the sphere: export it uncropped"
            )
