"""A node's domain: apart from the robot's own network, unless somebody chose one."""

from __future__ import annotations

import os

import pytest

from vpr_ros.node_process import private_domain

NAMES = ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY", "ROS_DISTRO")


@pytest.fixture(autouse=True)
def _no_ros(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def there() -> dict[str, str]:
    return {name: os.environ[name] for name in NAMES if name in os.environ}


def test_it_is_apart_and_on_this_machine_and_lasts_as_long_as_the_context() -> None:
    with private_domain():
        assert 1 <= int(os.environ["ROS_DOMAIN_ID"]) <= 101  # beyond, ports may be taken
        assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert there() == {}


def test_humble_has_a_name_of_its_own_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DISTRO", "humble")
    with private_domain():
        assert os.environ["ROS_LOCALHOST_ONLY"] == "1"
        assert "ROS_AUTOMATIC_DISCOVERY_RANGE" not in os.environ


def test_what_somebody_chose_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"ROS_DOMAIN_ID": "7", "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    with private_domain():
        assert there() == chosen
    assert there() == chosen
