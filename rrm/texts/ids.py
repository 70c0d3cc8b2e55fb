"""Names of documents: the same text under the same name always has the same one."""

import hashlib


def document_id(name: str, text: str) -> str:
    """A readable name and the beginning of a digest of the text, so that other words never have the same id."""
    return f"{name}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:16]}"
