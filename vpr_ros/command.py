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

from jsonargparse import ArgumentParser, Namespace

from vpr_ros.errors import InputError


def run(function: Callable[..., Any], positional: Sequence[str] = ()) -> None:
    """Call the function with what the command line says, then exit.

    Exits with 2 and one line on bad input, and with 130 when interrupted.

    Args:
        function: whose arguments are the options; those of a list take several values: --option A B.
        positional: options that the leading words stand for, so that these need not be named; the last one
            takes all that are left where it is a list.
    """
    parser = _parser(function)
    _call(function, parser, parser.parse_args(_words(function, positional, sys.argv[1:])))


def run_one_of(functions: Mapping[Callable[..., Any], Sequence[str]], description: str) -> None:
    """Call the function that the first word of the command line names, as `run` does.

    Args:
        functions: each with its positional options; the word is its name.
        description: what all of them are for, in a line.
    """
    named = {function.__name__: function for function in functions}
    parsers = {name: _parser(function) for name, function in named.items()}
    parser = ArgumentParser(description=description)
    commands = parser.add_subcommands(dest="command")
    for name, each in parsers.items():
        commands.add_subcommand(name, each, help=each.description)
    first, *arguments = sys.argv[1:] or ["--help"]
    if first in named:
        arguments = _words(named[first], functions[named[first]], arguments)
    options = parser.parse_args([first, *arguments])
    _call(named[first], parsers[first], options[first])


def _parser(function: Callable[..., Any]) -> ArgumentParser:
    parser = ArgumentParser(description=(function.__doc__ or "").split("\n\n")[0])
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_function_arguments(function)
    return parser


def _words(function: Callable[..., Any], positional: Sequence[str], arguments: list[str]) -> list[str]:
    """Return the arguments as the parser of the function understands them."""
    lists = _lists(function)
    named = [_underscored(argument) for argument in _named(arguments, positional, lists)]
    return _with_values(_joined(named, lists), _flags(function))


def _call(function: Callable[..., Any], parser: ArgumentParser, options: Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", stream=sys.stderr)
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


def by_option(options: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return nested options by their names on the command line."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        flat |= by_option(value, f"{before}{name}.") if isinstance(value, Mapping) else {before + name: value}
    return flat


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _named(arguments: list[str], positional: Sequence[str], lists: set[str]) -> list[str]:
    """Return the arguments, the leading ones that are no options put behind those they stand for."""
    names = [f"--{name}" for name in positional]
    named: list[str] = []
    for argument in arguments:
        if not names or argument.startswith("-"):
            break
        named.append(f"{names[0]}={argument}")
        if names[0] not in lists or len(names) > 1:
            names.pop(0)
    return named + arguments[len(named) :]


def _lists(function: Callable[..., Any]) -> set[str]:
    """Return the options that take several words: lists of words or paths, or nothing, and tuples."""
    lists = set()
    for name, kind in get_type_hints(function).items():
        kinds = [kind] if get_origin(kind) in (list, tuple) else [*get_args(kind)]
        several = any(each in (list[str], list[Path]) or get_origin(each) is tuple for each in kinds)
        if several and not {str, Path} & set(kinds):
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
    if isinstance(error, OSError) and error.filename is not None:
        error = OSError(f"{error.filename}: {error.strerror}")  # without the number
    sys.stderr.write(f"error: {error}\n")  # at once: other processes write there, too
    return 2
