"""A typed function as a command: its signature is the command line, and a YAML file with --config."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from inspect import signature
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser

from vpr_ros.errors import InputError


def run(function: Callable[..., Any], positional: Sequence[str] = ()) -> None:
    """Call the function with what the command line says, then exit.

    Exits with 2 and one line on bad input, and with 130 when interrupted.

    Args:
        function: whose arguments are the options; those of a list take several values: --option A B.
        positional: options that the leading words stand for, so that these need not be named.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", stream=sys.stderr)
    parser = ArgumentParser(description=(function.__doc__ or "").split("\n\n")[0])
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_function_arguments(function)
    arguments = [_underscored(argument) for argument in _named(sys.argv[1:], positional)]
    arguments = _joined(arguments, _lists(function))
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


def as_options(function: Callable[..., Any], values: Mapping[str, object]) -> list[str]:
    """Return the options that call the function with these values; those at their defaults are left out."""
    options = []
    for name, parameter in signature(function).parameters.items():
        value = values.get(name, parameter.default)
        if value != parameter.default:
            words = value if isinstance(value, list) else [value]
            options += [f"--{name.replace('_', '-')}", *(_word(word) for word in words)]
    return options


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _named(arguments: list[str], positional: Sequence[str]) -> list[str]:
    """Return the arguments, the leading ones that are no options put behind those they stand for."""
    leading = 0
    while leading < min(len(arguments), len(positional)) and not arguments[leading].startswith("-"):
        leading += 1
    named = zip(positional, arguments[:leading], strict=False)
    return [f"--{name}={value}" for name, value in named] + arguments[leading:]


def _lists(function: Callable[..., Any]) -> set[str]:
    """Return the options that are a list of words or paths, or such a list or nothing."""
    lists = set()
    for name, kind in get_type_hints(function).items():
        kinds = [kind] if get_origin(kind) is list else [*get_args(kind)]
        if any(each in kinds for each in (list[str], list[Path])) and not {str, Path} & set(kinds):
            lists.add(f"--{name}")
    return lists


def _joined(arguments: list[str], lists: set[str]) -> list[str]:
    """Write the values of a list, up to the next option, as one: `--option A B`, `--option A --option B`."""
    kept: list[str] = []
    values: dict[str, list[str]] = {}
    of: list[str] | None = None  # the list that is being filled
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name in lists:
            of = values.setdefault(name, [])
            of += [value] if equals else []
        elif of is None or argument.startswith("--"):
            of = None
            kept.append(argument)
        else:
            of.append(argument)
    return kept + [f"{name}={_list(each)}" if each else name for name, each in values.items()]


def _list(values: list[str]) -> str:
    """Write values as one list; a single one in brackets is a list already."""
    return values[0] if len(values) == 1 and values[0].startswith("[") else json.dumps(values)


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
