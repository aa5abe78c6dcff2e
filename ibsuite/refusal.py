"""What is said to a user whose request cannot be honoured; it imports nothing, so that it is said at once."""


class Refusal(Exception):
    """A setting that cannot be honoured, in one sentence that names it and says what to do."""
