"""One struct of a MATLAB file."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from scipy.io import loadmat

from vpr_ros.errors import InputError, first_line

_AGAIN = "download it again"


def read_struct(file: Path, name: str) -> dict[str, Any]:
    """Return the fields of a struct by their names; raises InputError where there is none.

    Of MATLAB objects and code in the file nothing is used.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file: expected a MATLAB file with {name}")
    # a damaged file can crash SciPy's reader, and the Python around it: another one than this
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            found = pool.submit(_read, file, name).result()
        except BrokenProcessPool as error:
            raise InputError(f"{file}: damaged: {_AGAIN}") from error
    if isinstance(found, str):
        raise InputError(f"{file}: {found}")
    return found


def _read(file: Path, name: str) -> dict[str, Any] | str:
    """Return the fields, or what is wrong."""
    try:
        struct = loadmat(file, struct_as_record=False, squeeze_me=True, variable_names=[name])[name]
        return {field: getattr(struct, field) for field in struct._fieldnames}
    except (KeyError, AttributeError):
        return f"no struct {name} in it: expected one of NetVLAD's data set files"
    except NotImplementedError:
        return f"of MATLAB 7.3: save its {name} with -v7"
    except Exception as error:  # a damaged file raises whatever its parser stumbles over
        return f"does not read as a MATLAB file ({first_line(error)}): {_AGAIN}"
