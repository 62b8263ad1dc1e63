"""A typed function as a command: its signature is the command line, and a YAML file with --config."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, get_type_hints

from jsonargparse import ArgumentParser

from vpr_ros.errors import InputError


def run(function: Callable[..., Any]) -> None:
    """Call the function with what the command line says, then exit.

    Exits with 2 and one line on bad input, and with 130 when interrupted.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", stream=sys.stderr)
    parser = ArgumentParser(description=(function.__doc__ or "").split("\n\n")[0])
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_function_arguments(function)
    arguments = [_underscored(argument) for argument in sys.argv[1:]]
    options = parser.parse_args(_with_values(arguments, _flags(function)))
    options.pop("config")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to stop, it stops as on Ctrl-C
    try:
        function(**parser.instantiate(options))
    except InputError as error:
        sys.exit(_fail(error))
    except OSError as error:  # a full disk, a folder that may not be written
        if error.filename is None and error.strerror is None:
            raise
        sys.exit(_fail(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _underscored(argument: str) -> str:
    """Let an option be written --like-this as well as --like_this."""
    name, equals, value = argument.partition("=")
    return (
        name.replace("-", "_").replace("__", "--", 1) + equals + value if name.startswith("--") else argument
    )


def _flags(function: Callable[..., Any], prefix: str = "--") -> set[str]:
    """Return the options that are true or false, those of nested options included."""
    flags = set()
    for name, kind in get_type_hints(function).items():
        if kind is bool:
            flags.add(prefix + name)
        elif is_dataclass(kind) and isinstance(kind, type):
            flags |= _flags(kind, f"{prefix}{name}.")
    return flags


def _with_values(arguments: list[str], flags: set[str]) -> list[str]:
    """Let a flag without a value stand for true."""
    following = [*arguments[1:], "--"]
    return [
        f"{argument}=true" if argument in flags and after.startswith("--") else argument
        for argument, after in zip(arguments, following, strict=False)
    ]


def _fail(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2
