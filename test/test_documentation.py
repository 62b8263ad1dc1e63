"""What the documentation names is there: pages, headings, commands, and every option of these."""

import re
import runpy
import shlex
from functools import cache
from pathlib import Path

import pytest

from vpr_ros import command

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page):
    """Return the names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    kept = (re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", each).lower()) for each in headings)
    return {each.strip().replace(" ", "-") for each in kept}


def links(page):
    return re.findall(r"\]\(([^)\s]+)\)", page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_links_lead_somewhere(page):
    for link in links(page):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_found_from_the_readme():
    found, new = set(), {ROOT / "README.md"}
    while new:
        found |= new
        named = {(page.parent / link.partition("#")[0]).resolve() for page in new for link in links(page)}
        new = {each for each in named if each.suffix == ".md" and each.exists()} - found
    assert found >= set(PAGES)


def commands(page):
    """Return the lines of a page's shell blocks, those that go on joined, without remarks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.S | re.M)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


@cache
def called(program):
    """Return the calls of `run` or `run_one_of` that a program makes: what it takes."""
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("run", "run_one_of"):
            patch.setattr(command, name, lambda *each, **named: calls.append((each, named)))
        if program.endswith(".py"):
            runpy.run_path(str(ROOT / program), run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__")
    return calls


def check(program, words):
    """Exit, as the program itself does, where it does not take these words."""
    (((what, *rest), named),) = called(program)
    if callable(what):
        function, positional = what, named.get("positional", rest[0] if rest else ())
    else:
        function = {each.__name__: each for each in what}[words[0]]
        positional, words = what[function], words[1:]
    command._parser(function).parse_args(command._words(function, positional, words))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_its_commands_take_what_they_are_given(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words in commands(page):
        while words and re.fullmatch(r"\w+=.*", words[0]):  # environment
            words.pop(0)
        if words[:1] != ["python"]:
            continue
        program, given = (words[2], words[3:]) if words[1] == "-m" else (words[1], words[2:])
        given = [word for word in given if word not in ("...", "|", "&&")]
        try:
            check(program, given)
        except SystemExit as left:
            if left.code:
                pytest.fail(f"{page.name}: {' '.join(words)}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_launch_files_declare_what_they_are_given(page):
    for words in commands(page):
        if words[:2] == ["ros2", "launch"]:
            declared = (ROOT / "launch" / words[3]).read_text()
            for name in (word.partition(":=")[0] for word in words[4:] if ":=" in word):
                assert re.search(rf'"{name}"', declared), f"{page.name}: {' '.join(words)}"


def test_its_make_targets_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    named = {words[1] for page in PAGES for words in commands(page) if words[:1] == ["make"]}
    assert named
    assert named <= targets
