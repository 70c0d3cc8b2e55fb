"""The level below at work: its agent briefs every part of a document, for a rater who cannot read the whole.

The same agent that was trained for the level below, decoded greedily: an aid that two raters ask for is the same text.
"""

from collections.abc import Sequence

from agents.policy import Policy
from agents.rollout import greedy


def brief_parts(policy: Policy, part_prompts: Sequence[str], max_new_tokens: int) -> tuple[str, ...]:
    """One brief for each part's prompt, in the same order; no parts give no briefs. Errors are those of `greedy`."""
    if not part_prompts:
        return ()
    return greedy(policy, part_prompts, max_new_tokens)
