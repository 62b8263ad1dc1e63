"""The seed, the scale and the closing table of `make torture`; the small world that is tortured."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from test.ros_graph import Peer, private_domain
from test.small_world import small_map, small_weights

# nodes as they are on a robot: what the other tests check is not timed here
os.environ["ROS_PYTHON_CHECK_FIELDS"] = ""

_TOLD = pytest.StashKey[list[tuple[str, str, str]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=0, help="of everything that is random")
    parser.addoption("--scale", type=float, default=1.0, help="of every number of messages, frames, times")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TOLD] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    told = config.stash[_TOLD]
    if told:
        terminalreporter.section(f"torture, seed {config.getoption('--seed')}")
    for row in told:
        terminalreporter.write_line("{:44} {:>9}  {}".format(*row))


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """Of everything that is random."""
    return int(request.config.getoption("--seed"))


@pytest.fixture(scope="session")
def scaled(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """Return how many of so many, by --scale; enough for a line through them."""
    return lambda number: max(10, round(number * request.config.getoption("--scale")))


@pytest.fixture(scope="session")
def tell(request: pytest.FixtureRequest) -> Callable[[str, int, str], None]:
    """Add a row to the closing table: what was done, how often, what came of it."""
    return lambda what, number, result: request.config.stash[_TOLD].append((what, str(number), result))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Weights and a map of the small world."""
    folder = tmp_path_factory.mktemp("small")
    weights = small_weights(folder / "weights.safetensors")
    return weights, small_map(folder / "maps" / "map", weights)


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    """In a domain that no other test run is likely to use."""
    for name, value in private_domain().items():
        monkeypatch.setenv(name, value)
    peer = Peer()
    yield peer
    peer.close()
