"""Let a policy write: completions of many prompts, a chunk at a time."""

from collections.abc import Sequence

from agents.policy import Policy
from agents.rollout import sample
from rrm.workbench import Workbench

CHUNK = 16
"""Documents sampled together. Part of what a seed means: another size gives other completions."""


def sample_texts(
    bench: Workbench, policy: Policy, prompts: Sequence[str], *, group: int, names: Sequence[object]
) -> list[tuple[str, ...]]:
    """`group` completions of each prompt. `names` say what they are for, and so seed them."""
    texts: list[tuple[str, ...]] = []
    for begin in range(0, len(prompts), CHUNK):
        part = prompts[begin : begin + CHUNK]
        samples = sample(
            policy,
            part,
            group=group,
            max_new_tokens=bench.config.sampling.max_new_tokens,
            generator=bench.generator(*names, begin),
        )
        texts += [samples.completions[row * group : (row + 1) * group] for row in range(len(part))]
        bench.progress.advance(len(part))
    return texts
