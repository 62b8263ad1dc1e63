"""The demo: find a second drive through a town on a map of the first.

Everything is done by the project's own commands, which are shown; what is there already is used again.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from demo.render import GPS, TRUTH, render_drives
from vpr_ros.calibration import read_calibration
from vpr_ros.encoder import load_encoder
from vpr_ros.errors import InputError
from vpr_ros.place_map import open_map

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "demo" / "out"
DRIVES, MAP = OUT / "drives", OUT / "map"
#: Says which code rendered the drives.
MADE = DRIVES / "made_by"
#: Times as fast as it was driven.
RATE = 2.0


def main() -> None:
    """Render, build the map, calibrate it, replay, and show the figures."""
    OUT.mkdir(exist_ok=True)
    if not _drives_stand():
        shutil.rmtree(MAP, ignore_errors=True)
        render_drives(DRIVES)
        MADE.write_text(_sources())
    if not _map_stands():
        _command("training/build_map.py", "--data", DRIVES / "first", "--fix-topic", GPS, "--out", MAP)
    if not _calibration_stands():
        _command("training/calibrate.py", DRIVES / "calibration", "--fix-topic", TRUTH, "--map", MAP)
    replayed = (DRIVES / "second", "--fix-topic", TRUTH, "--map", MAP, "--out", OUT)
    _command("-m", "vpr_ros.replay", *replayed, "--through-node", "--rate", RATE)
    print(f"\nreport: {OUT / 'report.html'}\nfigures: {OUT / 'metrics.json'}\npicture: {OUT / 'drive.png'}")


def _sources() -> str:
    """Return a sum of the demo's own code: drives of another version are rendered again."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _drives_stand() -> bool:
    return MADE.is_file() and MADE.read_text() == _sources()


def _map_stands() -> bool:
    try:
        open_map(MAP, load_encoder().fingerprint())
    except InputError:
        return False
    return True


def _calibration_stands() -> bool:
    try:
        return read_calibration(open_map(MAP)) is not None
    except InputError:
        return False


def _command(*words: object) -> None:
    """Run a Python command of the project, and show it."""
    arguments = [str(word) for word in words]
    shown = [word.replace(f"{ROOT}/", "") for word in arguments]
    print(f"\n$ python {shlex.join(shown)}", flush=True)
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT)
    try:
        status = process.wait()
    except KeyboardInterrupt:  # it was interrupted too: let it stop what it has started
        process.wait()
        raise
    if status:
        raise subprocess.CalledProcessError(status, arguments)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:  # it said why
        sys.exit(error.returncode)
    except KeyboardInterrupt:
        sys.exit("interrupted: the next run goes on from here")
