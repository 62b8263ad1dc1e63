"""Commands run as people run them, and what they say when they refuse."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: The checkout is what is tested, whatever is installed.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def script(name, *arguments, cwd):
    return subprocess.run(
        [sys.executable, str(ROOT / "training" / name), *map(str, arguments)],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def check_refusal(status, output, errors, *parts):
    lines = [line for line in errors.splitlines() if line.startswith("error:")]
    assert status == 2, errors
    assert len(lines) == 1, errors
    assert "Traceback" not in errors
    assert errors.rstrip().endswith(lines[0]), "it is the last thing said"
    assert output == ""
    for part in parts:
        assert str(part) in lines[0]
