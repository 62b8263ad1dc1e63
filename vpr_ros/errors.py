"""What is wrong with what a user gave us."""


class InputError(ValueError):
    """Bad input: one line that says what was wrong, in which file or topic, what was expected, what to do.

    Commands print it and exit with 2, the node counts it: neither shows a traceback.
    """
