"""What is wrong with what a user gave us."""


class InputError(ValueError):
    """Bad input: one line that says what was wrong, in which file or topic, what was expected, what to do.

    Commands print it and exit with 2, the node counts it: neither shows a traceback.
    """


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text; its name where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
