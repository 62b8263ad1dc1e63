"""A function as a command: leading words, lists of several values, and its call as words again."""

import shlex
from pathlib import Path

import pytest

from vpr_ros.command import as_options

asked = []


def drive(
    data: Path | None = None,
    out: Path = Path("out"),
    require: list[str] | None = None,
    compare: list[Path] | None = None,
    either: Path | list[Path] | None = None,
    numbers: list[int] | None = None,
    filter: bool = True,  # noqa: A002
    through_node: bool = False,
    rate: float = 1.0,
) -> None:
    """Ask for something."""
    asked.append({name: value for name, value in locals().items() if value is not None})


DEFAULTS = {"out": Path("out"), "filter": True, "through_node": False, "rate": 1.0}


@pytest.fixture
def ask(monkeypatch, capsys):
    """Call the function with a command line; return what it was given that is not the default."""
    from vpr_ros.command import run

    def ask(line, positional=("data",)):
        asked.clear()
        monkeypatch.setattr("sys.argv", ["command", *shlex.split(line)])
        run(drive, positional)
        return {name: value for name, value in asked[0].items() if value != DEFAULTS.get(name)}

    return ask


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {}),
        ("bag", {"data": Path("bag")}),
        ("a=b/drive.mcap --rate 2", {"data": Path("a=b/drive.mcap"), "rate": 2.0}),
        ("--data bag", {"data": Path("bag")}),
        ("bag --through-node --filter=false", {"data": Path("bag"), "through_node": True, "filter": False}),
        ("bag --through-node --rate 2", {"data": Path("bag"), "through_node": True, "rate": 2.0}),
        (
            "--require 'recall@1>=0.8' 'wrong<0.1' --rate 2",
            {"require": ["recall@1>=0.8", "wrong<0.1"], "rate": 2.0},
        ),
        ("--require=a --rate 2 --require b c", {"require": ["a", "b", "c"], "rate": 2.0}),
        ("--require '[a, b]'", {"require": ["a", "b"]}),
        ("--compare A B --out C", {"compare": [Path("A"), Path("B")], "out": Path("C")}),
        ("--compare 'with space, comma' \"it's\"", {"compare": [Path("with space, comma"), Path("it's")]}),
        ("--compare-not A", None),
        ("--either a", {"either": Path("a")}),
        ("--either [a,b]", {"either": [Path("a"), Path("b")]}),
        ("--numbers [1,2]", {"numbers": [1, 2]}),
        ("bag second", None),
        ("--require", None),
        ("--data", None),
    ],
)
def test_what_is_said_is_what_is_called(ask, capsys, line, expected):
    if expected is None:
        with pytest.raises(SystemExit) as caught:
            ask(line)
        assert caught.value.code == 2
        assert not asked
    else:
        assert ask(line) == expected


def test_words_stand_for_options_only_where_that_was_said(ask):
    with pytest.raises(SystemExit):
        ask("bag", positional=())
    assert ask("bag there", positional=("data", "out")) == {"data": Path("bag"), "out": Path("there")}


def look(folder: Path, deep: bool = False) -> None:
    """Look at something. Then go.

    Args:
        folder: What to look at.
        deep: Whether to look closely.
    """
    asked.append({"look": folder, "deep": deep})


def cut(folders: list[Path], box: tuple[float, float, float, float], out: Path = Path("out")) -> None:
    """Cut something out."""
    asked.append({"cut": folders, "box": box, "out": out})


BOX = (1.5, -2.0, 3.0, -4.0)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("look a", {"look": Path("a"), "deep": False}),
        ("look --deep --folder b", {"look": Path("b"), "deep": True}),
        ("cut a 'b c' --box 1.5 -2 3 -4", {"cut": [Path("a"), Path("b c")], "box": BOX, "out": Path("out")}),
        ("cut --box=[1.5,-2,3,-4] --out x --folders a", {"cut": [Path("a")], "box": BOX, "out": Path("x")}),
        ("cut a --box 1 2 3", None),
        ("cut a --box 1 2 3 north", None),
        ("cut a", None),
        ("look a b", None),
        ("nothing a", None),
        ("--deep look a", None),
    ],
)
def test_the_first_word_names_the_function(monkeypatch, capsys, line, expected):
    from vpr_ros.command import run_one_of

    asked.clear()
    monkeypatch.setattr("sys.argv", ["command", *shlex.split(line)])
    if expected is None:
        with pytest.raises(SystemExit) as caught:
            run_one_of({look: ["folder"], cut: ["folders"]}, "Look and cut.")
        assert caught.value.code == 2
        assert not asked
    else:
        run_one_of({look: ["folder"], cut: ["folders"]}, "Look and cut.")
        assert asked == [expected]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", ["Look and cut.", "look", "Look at something. Then go.", "cut"]),
        ("--help", ["Look and cut."]),
        ("look --help", ["What to look at.", "Whether to look closely."]),
    ],
)
def test_help_of_several_functions(monkeypatch, capsys, line, said):
    from vpr_ros.command import run_one_of

    monkeypatch.setattr("sys.argv", ["command", *shlex.split(line)])
    with pytest.raises(SystemExit) as caught:
        run_one_of({look: ["folder"], cut: ["folders"]}, "Look and cut.")
    assert caught.value.code == 0
    output = capsys.readouterr().out
    assert all(text in output for text in said)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError(2, "No such file or directory", "a/b"), "error: a/b: No such file or directory"),
        (OSError(28, "No space left on device"), "error: [Errno 28] No space left on device"),
    ],
)
def test_what_the_system_refuses_is_one_line(monkeypatch, capsys, error, line):
    from vpr_ros.command import run

    def fail() -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["command"])
    with pytest.raises(SystemExit) as caught:
        run(fail)
    assert caught.value.code == 2
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"data": Path("my drive"), "through_node": True, "filter": False},
        {"require": ["recall@1>=0.8", "error_p50 < 3"], "rate": 2.5},
        {"compare": [Path("A b"), Path("C")], "out": Path("it's")},
    ],
)
def test_a_call_as_words_is_that_call(ask, values):
    assert ask(shlex.join(as_options(drive, DEFAULTS | values))) == values
