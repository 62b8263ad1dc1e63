import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.town import DUSK, NOON, Town, drive


@pytest.fixture(scope="module")
def town():
    return Town(3)


@pytest.fixture(scope="module")
def poses(town):
    _, x, y, yaw = drive(town.route("first"), -1.2, speed=1.0, rate=1.0)
    return np.column_stack([x, y, yaw])


def difference(a, b):
    return np.abs(a.astype(int) - b.astype(int)).mean()


def distances(a, b):
    """Distance of each point of a to the nearest of b."""
    return np.linalg.norm(a[:, None] - b[None], axis=2).min(axis=1)


def test_same_arguments_give_same_bytes_in_any_order_and_any_instance(town, poses):
    def shots(where, order):
        return {
            (i, light): where.render(*poses[i], light, cars_seed=i % 2, noise_seed=i).tobytes()
            for i in order
            for light in (NOON, DUSK)
        }

    first = shots(town, [10, 200, 400])
    assert shots(town, [400, 10, 200]) == first
    assert shots(Town(3), [200, 400, 10]) == first


def test_another_seed_is_another_town(town):
    assert not np.array_equal(town.route("first"), Town(4).route("first"))


@pytest.mark.parametrize("seed", range(3))
def test_routes_share_most_of_their_way_but_not_one_stretch(seed):
    town = Town(seed)
    first, second = town.route("first"), town.route("second")
    length = [np.linalg.norm(np.diff(r, axis=0), axis=1).sum() for r in (first, second)]
    assert all(480 < n < 620 for n in length)
    known = distances(second, first) < 10
    assert 0.78 < known.mean() < 0.88
    (edges,) = np.nonzero(np.diff(known))
    assert len(edges) == 2  # one stretch, in the middle
    assert 70 < (edges[1] - edges[0]) / len(second) * length[1] < 105
    nearest = np.linalg.norm(second[:, None] - first[None], axis=2).argmin(axis=1)
    assert (np.diff(nearest[known]) >= 0).all()  # the same direction


def test_drive_follows_the_route_in_metres_seconds_and_radians():
    times, x, y, yaw = drive(np.array([(0.0, 0.0), (0.0, 50.0), (0.0, 100.0)]), 1.5, speed=5.0, rate=2.0)
    assert np.allclose(np.diff(times), 0.5)
    assert len(times) == 40
    assert np.allclose(x, -1.5)  # north, so left is west
    assert np.allclose(y, 5.0 * times)
    assert np.allclose(yaw, math.pi / 2)


def test_drive_turns_smoothly(town):
    for name in ("first", "second"):
        _, x, y, yaw = drive(town.route(name), 1.2, speed=8.0, rate=10.0)
        turn = (np.diff(yaw) + math.pi) % (2 * math.pi) - math.pi
        assert np.abs(turn).max() < 0.25
        assert np.hypot(np.diff(x), np.diff(y)).max() < 1.5


def test_other_cars_change_part_of_the_image(town, poses):
    shares = []
    for pose in poses[::60]:
        one, two = (town.render(*pose, NOON, cars_seed=s) for s in (1, 2))
        shares.append((one != two).any(axis=2).mean())
    assert max(shares) > 0.03
    assert max(shares) < 0.7
    assert np.mean(shares) < 0.4


def test_a_small_move_changes_little_and_a_large_one_much(town, poses):
    near, far = [], []
    for i in range(20, 500, 60):
        x, y, yaw = poses[i]
        image = town.render(x, y, yaw, NOON)
        near.append(difference(image, town.render(x + 0.02, y, yaw + 0.001, NOON)))
        far.append(difference(image, town.render(*poses[i + 50], NOON)))
    assert max(near) < 8
    assert min(far) > 12


def test_turning_left_moves_the_scene_right(town, poses):
    x, y, yaw = poses[60]
    shift, columns = 12, np.arange(320) + 0.5 - 160
    focal = 160 / math.tan(math.radians(40))
    before = town.render(x, y, yaw, NOON).astype(float)
    after = town.render(x, y, yaw + math.atan(shift / focal), NOON).astype(float)
    middle = np.abs(columns) < 40
    here, right, left = (np.roll(before, s, axis=1)[60:120, middle] for s in (0, shift, -shift))
    seen = after[60:120, middle]
    assert difference(seen, right) < 0.6 * min(difference(seen, here), difference(seen, left))


def test_light_changes_brightness(town, poses):
    for pose in poses[::100]:
        noon, dusk = town.render(*pose, NOON), town.render(*pose, DUSK)
        assert noon.mean() > 1.4 * dusk.mean()
        assert dusk.mean() > 25


@pytest.mark.parametrize("size", [(240, 320), (120, 200), (96, 96)])
def test_image_has_the_size_asked_for(town, poses, size):
    image = town.render(*poses[0], NOON, size=size)
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8


@settings(max_examples=40, deadline=None)
@given(
    place=st.tuples(st.sampled_from(["first", "second"]), st.floats(0, 1)),
    offset=st.floats(-2.5, 2.5),
    turn=st.floats(-7, 7),
    height=st.floats(0.3, 2.5),
)
def test_every_pose_on_the_roads_shows_a_picture(town, place, offset, turn, height):
    name, along = place
    _, x, y, yaw = drive(town.route(name), offset, speed=1.0, rate=1.0)
    i = round(along * (len(x) - 1))
    image = town.render(x[i], y[i], yaw[i] + turn, DUSK, camera_height=height)
    assert image.std() > 5
