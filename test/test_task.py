"""Who is looked for on what."""

from test.error_lines import input_error
from training.comparing.task import match_task
from vpr_ros.geotagged import make_rows

ROWS = make_rows(
    "test", latitude=[50.0] * 4, longitude=[8.0] * 4, session=["a_day", "a_night", "b_night", "b_dusk"]
)


def test_patterns_of_sessions():
    queries, database = match_task(ROWS, "*night on a*")
    assert queries.tolist() == [False, True, True, False]
    assert database.tolist() == [True, True, False, False]


def test_another_form():
    with input_error("task 'night'", "QUERIES on DATABASE"):
        match_task(ROWS, "night")
