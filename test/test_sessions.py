"""The drives of a table: which, when, how far, and with what names."""

import numpy as np
import pytest

from test.small_maps import in_a_row, rows_at
from vpr_ros.drives.sessions import iso, sessions_of, told_apart
from vpr_ros.geotagged import join_rows, make_rows


def test_drives_in_the_order_of_their_first_rows():
    rows = join_rows([rows_at(in_a_row(3), "z", start=50), rows_at(in_a_row(4, 5.0), "a")])
    first, second = sessions_of(rows[[0, 3, 1, 4, 5, 2, 6]])
    assert (first.name, len(first), first.first, first.last) == ("z", 3, 50 * 10**9, 52 * 10**9)
    assert first.metres == pytest.approx(20, abs=0.01)
    assert [each.tolist() for each in first.stretches] == [[0, 2, 5]]
    assert (second.name, len(second)) == ("a", 4)
    assert second.metres == pytest.approx(15, abs=0.01)


def test_a_drive_is_in_the_order_of_time():
    rows = rows_at(in_a_row(5))[[3, 1, 4, 0, 2]]
    (session,) = sessions_of(rows)
    assert session.stretches[0].tolist() == [3, 1, 4, 0, 2]
    assert session.metres == pytest.approx(40, abs=0.01)


def test_without_stamps_it_is_in_the_order_of_the_table():
    rows = rows_at(in_a_row(5))
    rows["stamp"] = 0
    (session,) = sessions_of(rows)
    assert session.stretches[0].tolist() == [0, 1, 2, 3, 4]
    assert (session.first, session.last) == (0, 0)


def test_a_gap_is_no_part_of_the_way():
    enu = np.concatenate([in_a_row(5), in_a_row(5, east=500.0)])
    (session,) = sessions_of(rows_at(enu))
    assert [each.tolist() for each in session.stretches] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert session.metres == pytest.approx(80, abs=0.01)


def test_far_steps_are_no_gaps_where_all_are_far():
    (session,) = sessions_of(rows_at(in_a_row(5, 200.0)))
    assert len(session.stretches) == 1
    assert session.metres == pytest.approx(800, abs=0.1)


def test_a_drive_of_one_place():
    (session,) = sessions_of(rows_at(in_a_row(1)))
    assert (len(session), session.metres) == (1, 0.0)


def test_later_drives_of_the_same_name_get_a_number():
    names = [["a", "b"], ["a", "c"], ["a", "a (2)"], [""], [""]]
    parts = [make_rows("test", latitude=[1] * len(n), longitude=[2] * len(n), session=n) for n in names]
    apart, renamed = told_apart(parts)
    assert [each["session"].tolist() for each in apart] == [
        ["a", "b"],
        ["a (2)", "c"],
        ["a (3)", "a (2) (2)"],
        [""],
        ["(2)"],
    ]
    assert renamed == {"a": "a (3)", "a (2)": "a (2) (2)", "": "(2)"}
    assert [each["session"].tolist() for each in parts] == names  # those given stay as they are


@pytest.mark.parametrize(
    ("stamp", "text"),
    [(0, None), (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123Z"), (1, "1970-01-01T00:00:00.000Z")],
)
def test_a_stamp_in_words(stamp, text):
    assert iso(stamp) == text
