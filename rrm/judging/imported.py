"""How comparisons that were judged elsewhere are told from the others in the store."""

REASON = "imported"
"""Why such a comparison is there; the agent id of completions that nobody of the run wrote begins with it."""
