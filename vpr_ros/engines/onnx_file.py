"""What an ONNX file refers to, found without running it or trusting it.

ONNX is protobuf, of which a few fields tell; older versions of onnxruntime follow any path that they hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

from vpr_ros.errors import InputError, first_line

#: By message and field: the message in it. These are all the ways to a tensor or a node.
_WITHIN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "tensor": {13: "entry"},
    "entry": {},
}
_OPERATOR = 4  # field of a node
_KEY, _VALUE = 1, 2  # fields of an entry
_LOCATION = b"location"
#: An operator that holds or names machine code, which TensorRT runs unseen.
_COMPILED = b"EPContext"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def external_files(file: Path) -> list[Path]:
    """Return the files, in the folder of an ONNX file, that hold tensors of it, in order.

    Raises:
        InputError: it is damaged, names a file elsewhere or one that is not there, or holds compiled code.
    """
    try:
        with file.open("rb") as opened, mmap(opened.fileno(), 0, access=ACCESS_READ) as data:
            locations = _locations(file, data)
        return [_beside(file, location) for location in sorted(locations)]
    except InputError:
        raise
    # IndexError: it ends too early; OSError, RuntimeError: a name too long, links in a circle
    except (ValueError, IndexError, OSError, RuntimeError) as error:
        raise InputError(
            f"{file}: damaged or not ONNX ({first_line(error)}): export it again or copy it again"
        ) from error


def _locations(file: Path, data: mmap) -> set[str]:
    locations = set()
    waiting = [("model", 0, len(data))]
    while waiting:
        message, start, end = waiting.pop()
        fields = list(_fields(data, start, end))
        inner = _WITHIN[message]
        waiting += [(inner[at], first, last) for at, first, last in fields if at in inner]
        if message == "node" and _COMPILED in (data[a:b] for at, a, b in fields if at == _OPERATOR):
            raise InputError(
                f"{file}: holds code compiled for one GPU: export it without {_COMPILED.decode()}"
            )
        if message == "entry" and _LOCATION in (data[a:b] for at, a, b in fields if at == _KEY):
            locations |= {data[a:b].decode() for at, a, b in fields if at == _VALUE}
    return locations


def _fields(data: mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each field of bytes in a message."""
    while start < end:
        tag, start = _varint(data, start)
        kind, length = tag & 7, 0
        if kind == _VARINT:
            _, start = _varint(data, start)
        elif kind == _BYTES:
            length, start = _varint(data, start)
        elif kind in (_FIXED32, _FIXED64):
            start += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"byte {start}: no field of protobuf")
        if start + length > end:
            raise ValueError(f"byte {start}: a field reaches beyond its message")
        if kind == _BYTES:
            yield tag >> 3, start, start + length
        start += length


def _varint(data: mmap, start: int) -> tuple[int, int]:
    """Return a number and where it ends."""
    number = 0
    for place in range(10):
        byte = data[start + place]
        number |= (byte & 127) << 7 * place
        if byte < 128:
            return number, start + place + 1
    raise ValueError(f"byte {start}: no number of protobuf")


def _beside(file: Path, location: str) -> Path:
    folder = file.resolve().parent
    there = folder / location
    # links are followed: one that leads out of the folder is as good as a path that does
    if Path(location).is_absolute() or not there.resolve().is_relative_to(folder):
        raise InputError(f"{file}: its tensors are in {location!r}, outside its folder: put them beside it")
    if not there.is_file():
        raise InputError(f"{file}: its tensors are in {location!r}, which is not there: copy it too")
    return there
