"""How planted comparisons, whose better half is known, are told from the others in the store."""

REASON = "planted"
RIGHT = "planted-right"
"""The agent id of the better half."""
WRONG = "planted-wrong"
"""The agent id of the half with the flaw."""
AID = "planted-aid"
"""The agent id of an aid that has the same flaw."""
