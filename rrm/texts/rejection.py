"""Why a text cannot be used; caught where texts are counted, never seen by callers."""


class Rejection(Exception):
    """One item of a source that is no text for us."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        """A few words that are the same for all items of the kind; they are what is counted."""
        self.reason = reason
        """What came and what was expected, to stand after the name of the item."""
