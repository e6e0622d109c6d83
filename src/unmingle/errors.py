"""Errors whose message is one line for a person: what it is about, what is wrong, what to do."""


class UnmingleError(Exception):
    """Any error that unmingle raises on purpose; its text is one line without a traceback's help."""


class InputError(UnmingleError):
    """A file (or array) that cannot be read, separated or written; the command line exits with 1."""


class UsageError(UnmingleError):
    """A wrong option, model name or number of speakers; the command line exits with 2."""


class Cancelled(UnmingleError):
    """The progress callback returned False."""


class Undefined(UnmingleError):
    """A measure has no value for these signals; the text is the reason."""
