"""The position at a time, keyframes and the direction of travel, against their definitions."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpr_ros.drives.track import Track, geotag, interpolate, keyframes, track_heading, turn
from vpr_ros.errors import InputError
from vpr_ros.geodesy import Datum, to_enu, to_geodetic

few = settings(max_examples=40, deadline=None, derandomize=True)
DATUM = Datum(52.0, 5.0, 10.0)
SECOND = 10**9
DRIVE = Path("drive")


def stamps(*seconds):
    # of today: nanoseconds that a float64 cannot hold
    return np.array([1_700_000_000 * SECOND + round(second * SECOND) for second in seconds], np.int64)


def fixes(*enu, datum=DATUM):
    return to_geodetic(np.array([(*position, 0.0)[:3] for position in enu], float), datum)


def metres(positions, datum=DATUM):
    return to_enu(positions[:, 0], positions[:, 1], datum.altitude, datum)[:, :2]


def test_exact_at_the_fixes():
    at = stamps(0, 1, 2.5)
    given_fixes = fixes((0, 0), (10, 3), (17, -4, 5))
    positions, outside, gap = interpolate(at, given_fixes, at, max_gap=2.0)
    np.testing.assert_allclose(positions[:, :2], given_fixes[:, :2], atol=1e-10)
    np.testing.assert_allclose(positions[:, 2], given_fixes[:, 2], atol=1e-6)
    assert not outside.any()
    assert not gap.any()


def test_in_between_in_proportion_to_time():
    positions, _, _ = interpolate(stamps(0, 1), fixes((0, 0, 0), (10, 20, 4)), stamps(0.5, 0.9), 2.0)
    np.testing.assert_allclose(metres(positions), [(5, 10), (9, 18)], atol=1e-3)
    np.testing.assert_allclose(positions[:, 2], [12.0, 13.6], atol=1e-3)


def test_a_nanosecond_counts():
    positions, outside, _ = interpolate(stamps(0, 1), fixes((0, 0), (10, 0)), stamps(0) - 1, 2.0)
    assert outside.all()
    assert np.isnan(positions).all()
    positions, outside, _ = interpolate(stamps(0, 1), fixes((0, 0), (10, 0)), stamps(1) + 1, 2.0)
    assert outside.all()


@few
@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=8, unique=True),
    st.lists(st.integers(-20, 70), max_size=12),
    st.integers(0, 99),
)
def test_never_beyond_the_fixes_and_always_between_the_two_around(fix_seconds, seconds, seed):
    fix_seconds = sorted(fix_seconds)
    enu = np.random.default_rng(seed).uniform(-100, 100, (len(fix_seconds), 2))
    max_gap = 5.0
    positions, outside, gap = interpolate(
        stamps(*fix_seconds), fixes(*enu), stamps(*seconds).astype(np.int64), max_gap
    )
    found = metres(positions) if seconds else np.empty((0, 2))
    for row, second in enumerate(seconds):
        before = [k for k, fix in enumerate(fix_seconds) if fix <= second]
        after = [k for k, fix in enumerate(fix_seconds) if fix >= second]
        assert outside[row] == (not before or not after)
        if outside[row]:
            assert not gap[row]
        else:
            first, last = before[-1], after[0]
            assert gap[row] == (fix_seconds[last] - fix_seconds[first] > max_gap)
        if outside[row] or gap[row]:
            assert np.isnan(positions[row]).all()
            continue
        share = (second - fix_seconds[first]) / max(fix_seconds[last] - fix_seconds[first], 1)
        np.testing.assert_allclose(found[row], enu[first] + share * (enu[last] - enu[first]), atol=5e-3)


def test_gap_at_its_length_and_beyond():
    at, where = stamps(0, 2, 4.001), fixes((0, 0), (1, 0), (2, 0))
    _, _, gap = interpolate(at, where, stamps(1, 3, 4.001), max_gap=2.0)
    # a stamp on a fix is known, whatever lies beside it
    assert gap.tolist() == [False, True, False]


def test_single_fix_is_known_at_its_own_time_alone():
    positions, outside, gap = interpolate(stamps(5), fixes((3, 4)), stamps(4, 5, 6), 2.0)
    assert outside.tolist() == [True, False, True]
    assert not gap.any()
    np.testing.assert_allclose(metres(positions[1:2]), [(3, 4)], atol=1e-4)
    assert np.isnan(positions[[0, 2]]).all()


def test_no_fixes():
    positions, outside, gap = interpolate(np.empty(0, np.int64), np.empty((0, 3)), stamps(1, 2), 2.0)
    assert np.isnan(positions).all()
    assert positions.shape == (2, 3)
    assert outside.all()
    assert not gap.any()


def test_no_stamps():
    positions, outside, gap = interpolate(stamps(0, 1), fixes((0, 0), (1, 0)), np.empty(0, np.int64), 2.0)
    assert positions.shape == (0, 3)
    assert outside.shape == gap.shape == (0,)


@pytest.mark.parametrize("way", [1, -1])
def test_across_the_antimeridian(way):
    where = np.array([[10.0, 179.9999, 0.0], [10.0, -179.9998, 0.0]])[::way]
    positions, _, _ = interpolate(stamps(0, 1), where, stamps(0.25, 0.5), 2.0)
    first, second = (where[0, 1] + way * share * 3e-4 for share in (0.25, 0.5))
    wrapped = [(longitude + 180) % 360 - 180 for longitude in (first, second)]
    np.testing.assert_allclose(positions[:, 1], wrapped, atol=1e-7)
    np.testing.assert_allclose(positions[:, 0], 10.0, atol=1e-7)


def test_over_the_pole():
    where = np.array([[89.9999, 0.0, 0.0], [89.9999, 180.0, 0.0]])
    positions, _, _ = interpolate(stamps(0, 1), where, stamps(0.25, 0.5), 2.0)
    assert positions[0, 0] == pytest.approx(89.99995, abs=1e-8)
    assert positions[0, 1] == pytest.approx(0.0, abs=1e-3)
    assert positions[1, 0] == pytest.approx(90.0, abs=1e-8)


def test_unknown_altitude_stays_unknown_and_spoils_nothing():
    where = fixes((0, 0), (10, 0), (20, 0))
    where[1, 2] = np.nan
    positions, _, _ = interpolate(stamps(0, 1, 2), where, stamps(0, 0.5, 1, 1.5, 2), 2.0)
    np.testing.assert_allclose(metres(positions)[:, 0], [0, 5, 10, 15, 20], atol=1e-3)
    assert np.isnan(positions[:, 2]).tolist() == [False, True, True, True, False]


def test_stamps_in_any_order():
    at, where = stamps(0, 1, 2), fixes((0, 0), (10, 0), (10, 10))
    order = [2, 0, 1]
    asked = stamps(0.3, 1.2, 1.9)
    straight, shuffled = (interpolate(at, where, s, 2.0)[0] for s in (asked, asked[order]))
    np.testing.assert_array_equal(shuffled, straight[order])


# --- keyframes --------------------------------------------------------------------------------------------

walks = st.lists(
    st.tuples(st.floats(-3, 3), st.floats(-3, 3)).map(
        lambda step: step if abs(step[0]) > 0.2 else (0.0, 0.0)
    ),
    min_size=1,
    max_size=60,
)


@few
@given(walks, st.floats(0.1, 10))
def test_kept_rows_are_a_spacing_apart_and_none_is_missed(steps, spacing):
    walk = np.cumsum(np.array(steps), axis=0)
    kept = keyframes(walk, spacing).tolist()
    assert kept[0] == 0
    assert kept == sorted(set(kept))
    for before, after in zip(kept, [*kept[1:], len(walk)], strict=True):
        if after < len(walk):
            assert np.linalg.norm(walk[after] - walk[before]) >= spacing
        between = np.linalg.norm(walk[before + 1 : after] - walk[before], axis=1)
        assert (between < spacing).all()


def test_standing_still_adds_none():
    walk = np.array([(0, 0)] * 50 + [(5, 0)] * 50 + [(5.4, 0)] * 50, float)
    assert keyframes(walk, 1.0).tolist() == [0, 50]


def test_zero_keeps_all_even_where_the_robot_stands():
    assert keyframes(np.zeros((7, 2)), 0.0).tolist() == list(range(7))


def test_no_positions_no_keyframes():
    kept = keyframes(np.empty((0, 2)), 1.0)
    assert kept.shape == (0,)
    assert np.arange(3)[kept].tolist() == []  # an index, even when empty


def test_height_counts_when_it_is_given():
    assert keyframes(np.array([(0, 0, 0), (0, 0, 3), (0, 0, 4)], float), 3.0).tolist() == [0, 1]


# --- the direction of travel ------------------------------------------------------------------------------


def apart(first, second):
    return np.abs((np.asarray(first) - second + 180) % 360 - 180)


@pytest.mark.parametrize("heading", range(0, 360, 45))
@pytest.mark.parametrize("spacing", [0.5, 0.7, 1.25, 2.5, 7.0])
def test_straight_lines(heading, spacing):
    radians = np.radians(heading)
    line = np.arange(0, 40, spacing)[:, None] * (np.sin(radians), np.cos(radians))
    found = track_heading(line)
    assert ((found >= 0) & (found < 360)).all()  # at both ends too
    np.testing.assert_allclose(apart(found, heading), 0, atol=1e-6)


def test_there_and_back():
    along = np.concatenate([np.arange(0, 30), np.arange(30, -1, -1)])
    found = track_heading(np.stack([along, np.zeros(61)], axis=1).astype(float))
    assert apart(found[:25], 90).max() < 1e-6
    assert apart(found[-25:], 270).max() < 1e-6


def test_standing_still_is_unknown():
    assert np.isnan(track_heading(np.zeros((20, 2)))).all()


def test_a_drive_that_is_too_short_is_unknown():
    assert np.isnan(track_heading(np.array([(0.0, 0.0), (1.0, 0.0), (2.0, 0.0)]))).all()
    assert np.isnan(track_heading(np.array([(0.0, 0.0)]))).all()
    assert track_heading(np.empty((0, 2))).shape == (0,)


def test_stops_on_the_way_keep_the_direction():
    along = np.concatenate([np.arange(0, 20), np.full(30, 20), np.arange(20, 40)]).astype(float)
    found = track_heading(np.stack([np.zeros(70), along], axis=1))
    assert apart(found, 0).max() < 1e-6


def test_a_robot_that_waits_before_it_leaves():
    along = np.concatenate([np.zeros(30), np.arange(0, 20)]).astype(float)
    found = track_heading(np.stack([along, np.zeros(50)], axis=1))
    assert apart(found, 90).max() < 1e-6


def test_noise_of_single_fixes_is_damped():
    random = np.random.default_rng(0)
    line = np.stack([np.arange(0, 200, 0.5), np.zeros(400)], axis=1)
    noisy = line + random.normal(0, 0.1, line.shape)
    step = np.diff(noisy, axis=0)
    single = apart(90 - np.degrees(np.arctan2(step[:, 1], step[:, 0])), 90)
    found = apart(track_heading(noisy), 90)
    assert np.sqrt(np.nanmean(found**2)) < np.sqrt((single**2).mean()) / 4
    longer = apart(track_heading(noisy, baseline=20.0), 90)
    assert np.sqrt(np.nanmean(longer**2)) < np.sqrt(np.nanmean(found**2)) / 2


@pytest.mark.parametrize("seed", range(5))
def test_centimetres_of_noise_do_not_cost_the_ends_their_direction(seed):
    line = np.stack([np.arange(0, 40, 0.5), np.zeros(80)], axis=1)
    found = track_heading(line + np.random.default_rng(seed).normal(0, 0.02, line.shape))
    assert apart(found, 90).max() < 5


def test_a_corner_turns_within_the_baseline():
    corner = np.concatenate(
        [
            np.stack([np.arange(0, 20), np.zeros(20)], axis=1),
            np.stack([np.full(20, 20), np.arange(20)], axis=1),
        ]
    ).astype(float)
    found = track_heading(corner, baseline=5.0)
    assert apart(found[:17], 90).max() < 1e-6
    assert apart(found[24:], 0).max() < 1e-6
    assert (np.diff(found[17:24]) < 1e-6).all()  # from 90 to 0, never past either


def test_height_is_no_direction():
    climb = np.stack([np.zeros(20), np.zeros(20), np.arange(20)], axis=1).astype(float)
    assert np.isnan(track_heading(climb)).all()


# --- headings that are known, and images along a track


def test_a_heading_turns_the_shorter_way():
    at = stamps(0, 1, 2, 3)
    between = turn(at, np.array([350.0, 10.0, 200.0, np.nan]), stamps(0, 0.25, 0.5, 1, 1.5, 2, 2.5))
    np.testing.assert_allclose(between, [350, 355, 0, 10, 285, 200, np.nan], atol=1e-9)


@few
@given(st.lists(st.floats(0, 359.99), min_size=2, max_size=6), st.floats(0, 1))
def test_a_heading_lies_between_its_neighbours_whichever_way_is_north(headings, share):
    at = stamps(*range(len(headings)))
    asked = at[:-1] + np.int64(share * SECOND)
    turned = turn(at, np.array(headings), asked)
    again = turn(at, (np.array(headings) + 123.0) % 360.0, asked)
    off = (turned - headings[:-1] + 180) % 360 - 180
    whole = (np.diff(headings) + 180) % 360 - 180
    assert (np.abs(off) <= np.abs(whole) + 1e-6).all()
    opposite = np.abs(np.abs(whole) - 180) < 1e-6  # either way is the shorter one
    difference = (again - turned - 123.0 + 180) % 360 - 180
    np.testing.assert_allclose(difference[~opposite], 0, atol=1e-6)


def test_images_of_a_track():
    track = Track(stamps(1, 2, 9, 10), fixes((0, 0), (0, 10), (50, 10), (60, 10)))
    tagged = geotag(stamps(0, 1, 1.5, 2, 5, 9.5, 11), track, 2.0, DRIVE)
    assert tagged.known.tolist() == [1, 2, 3, 5]
    assert (tagged.outside, tagged.in_gaps) == (2, 1)
    np.testing.assert_allclose(metres(tagged.positions), [(0, 0), (0, 5), (0, 10), (55, 10)], atol=1e-3)
    np.testing.assert_allclose(tagged.enu, [(0, 0), (0, 5), (0, 10), (55, 10)], atol=1e-3)
    # one image beyond the gap: no direction is taken across it
    np.testing.assert_allclose(np.cos(np.radians(tagged.headings)), [1, 1, 1, np.nan], atol=1e-5)


def test_images_of_a_track_that_knows_its_headings():
    track = Track(stamps(0, 2), fixes((0, 0), (0, 10)), np.array([80.0, 100.0]))
    np.testing.assert_allclose(geotag(stamps(0, 1, 2), track, 2.0, DRIVE).headings, [80, 90, 100])


def test_images_of_no_track():
    track = Track(stamps(0, 2), fixes((0, 0), (0, 10)), points="lines of truth.csv")
    with pytest.raises(InputError, match=r"^drive: .* two lines of truth\.csv: images from .* one clock"):
        geotag(stamps(5, 6), track, 2.0, DRIVE)
