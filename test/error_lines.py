"""The promise of every InputError: one line that names the file and says what to do."""

from contextlib import contextmanager

import pytest

from vpr_ros.errors import InputError


@contextmanager
def input_error(*parts):
    """Expect an InputError of one line that holds each of these texts."""
    with pytest.raises(InputError) as caught:
        yield caught
    check_line(caught.value, *parts)


def check_line(error, *parts):
    text = str(error)
    assert text.strip()
    assert "\n" not in text
    assert "\r" not in text
    for part in parts:
        assert str(part) in text


def some_cure(text):
    """Tell whether a message says what to do, or what would have been right."""
    words = ("expected", "copy it", "save its", "import it", "train", "install", "download", "give ", "use ")
    return any(word in text for word in words)
