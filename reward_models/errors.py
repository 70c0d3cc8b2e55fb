"""The exception tree. Its root stands on the lowest floor because every floor raises from it.

RrmError
├── InvalidInput (ValueError)      what was given cannot be used: text, records, tensors, settings
├── NonFinite (ArithmeticError)    a loss, score or gradient became NaN or infinite
├── ArtifactError (OSError)        a saved model or data file is missing, unreadable or not what it claims to be
└── ServerError (ConnectionError)  a server that was asked does not answer, or not as agreed

`rrm.errors` adds the branch about runs. A message says what came, what was expected, and what to do.
"""


class RrmError(Exception):
    """Root of everything this project raises on purpose; the command line turns it into one sentence."""


class InvalidInput(RrmError, ValueError):
    """What was given cannot be used."""


class NonFinite(RrmError, ArithmeticError):
    """A loss, score or gradient became NaN or infinite; nothing was written after it."""


class ArtifactError(RrmError, OSError):
    """A saved model or data file is missing, unreadable or not what it claims to be."""


class ServerError(RrmError, ConnectionError):
    """A server that was asked does not answer, or not as agreed."""
