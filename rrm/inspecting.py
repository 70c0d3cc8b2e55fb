"""Where an agent spends its nats: completions of an agent with the exact KL to the base, token by token."""

from collections.abc import Sequence
from pathlib import Path

import torch

from agents.policy import Policy
from agents.rollout import Rollouts, rollout
from reward_models.errors import InvalidInput
from rrm.config import AgentSection
from rrm.errors import RunError
from rrm.opening import open_workbench
from rrm.prompting import prompts_of
from rrm.standing import BASE
from rrm.store import ArtifactKind, Run
from rrm.store.artifacts import artifacts
from rrm.tasks.task import Split
from rrm.transcripts import Alternative, Token, Transcript, newest_agents, transcripts_file, written_transcripts
from rrm.workbench import Workbench
from rrm.writing import write_whole

MOST_SAMPLES = 64
"""Completions of one prompt that are sampled together, with their whole distributions."""
SHOWN_ALTERNATIVES = 3
"""The likeliest tokens that are shown beside a costly one, of the policy and of the base each."""


def inspect_agent(
    folder: Path,
    *,
    agent: str | None = None,
    level: int | None = None,
    document: int = 0,
    prompt: str | None = None,
    samples: int = 1,
) -> tuple[Transcript, ...]:
    """Let an agent of a run brief a validation document, or continue a prompt, and say what each token cost.

    The run is not changed, and the same call gives the same transcripts.

    Args:
        folder: the run's folder.
        agent: an agent's id such as `agent-0-0`, or `base`; None for the one that was trained last (at `level`).
        level: whose documents are briefed; None for those of the agent's level.
        document: the place of the validation document.
        prompt: a text to continue instead of a document.
        samples: how many completions.

    Raises RunMissing, RunError where there is no such agent, InvalidInput for numbers that cannot be.
    """
    with Run.open(folder) as run:
        found, its_level = _chosen(run, agent, level)
    if not 1 <= samples <= MOST_SAMPLES:
        raise InvalidInput(f"samples must be from 1 to {MOST_SAMPLES}, got {samples}.")
    if document < 0:
        raise InvalidInput(f"documents are counted from 0, got {document}.")
    # Nothing that a process at work on the run relies on is written, so it need not be waited for.
    with open_workbench(folder, exclusive=False) as bench:
        read = prompt if prompt is not None else _prompt(bench, its_level if level is None else level, document)
        return transcripts(bench, found, [read], samples=samples)


def transcripts(bench: Workbench, agent: str, prompts: Sequence[str], *, samples: int = 1) -> tuple[Transcript, ...]:
    """Completions of an agent as it acts, `samples` of each prompt in turn; the same call gives the same."""
    return _transcripts(bench, agent, bench.policy(agent), prompts, samples=samples, budget=_budget(bench.run, agent))


def store_transcripts(bench: Workbench, identifier: str, policy: Policy, prompts: Sequence[str]) -> None:
    """Keep a completion of each prompt beside the folder of an agent that has just been trained, for the page.

    The file is there whole or not at all, and a step that is done again writes the same.
    """
    found = _transcripts(bench, identifier, policy, prompts, samples=1, budget=bench.config.agent.budget or None)
    write_whole(transcripts_file(bench.run, identifier), written_transcripts(found))


def pieces(policy: Policy, tokens: Sequence[int]) -> list[str]:
    """The part of the text that each token adds; joined they are the text.

    A byte-level token can hold a part of a character: its piece is empty, and the token that ends the character has
    it. A piece is what the text of the tokens up to it has in common with the whole text, beyond that of those before.
    """
    whole, done, found = policy.decode(list(tokens)), 0, []
    for count in range(1, len(tokens) + 1):
        last = count == len(tokens)
        end = len(whole) if last else _in_common(whole, policy.decode(list(tokens[:count])))
        found.append(whole[done : max(done, end)])
        done = max(done, end)
    return found


def _in_common(first: str, second: str) -> int:
    """How many letters both begin with."""
    both = zip(first, second, strict=False)
    return next((place for place, (a, b) in enumerate(both) if a != b), min(len(first), len(second)))


def _transcripts(
    bench: Workbench, agent: str, policy: Policy, prompts: Sequence[str], *, samples: int, budget: float | None
) -> tuple[Transcript, ...]:
    found: list[Transcript] = []
    for number, prompt in enumerate(prompts):
        rollouts = rollout(
            policy,
            bench.base,
            [prompt],
            group=samples,
            max_new_tokens=bench.config.sampling.max_new_tokens,
            generator=bench.generator("inspect", agent, number),
        )
        found += [_transcript(policy, rollouts, row, agent=agent, budget=budget) for row in range(samples)]
    return tuple(found)


def _transcript(policy: Policy, rollouts: Rollouts, row: int, *, agent: str, budget: float | None) -> Transcript:
    samples = rollouts.samples
    length = int(samples.mask[row].sum())
    tokens: list[int] = samples.tokens[row, :length].tolist()
    # Rounding can leave a little less than nothing where both distributions are one.
    kl = rollouts.kl.clamp(min=0.0)
    figures = (kl, samples.log_probabilities, rollouts.reference.log_probabilities, rollouts.entropy)
    columns = zip(*(one[row, :length].tolist() for one in figures), strict=True)
    plain = Transcript(
        agent=agent,
        prompt=samples.prompts[row // samples.group],
        text=samples.completions[row],
        tokens=tuple(
            Token(piece, _name(policy, token), *numbers)
            for token, piece, numbers in zip(tokens, pieces(policy, tokens), columns, strict=True)
        ),
        budget=budget,
    )
    return _with_alternatives(policy, rollouts, row, plain)


def _with_alternatives(policy: Policy, rollouts: Rollouts, row: int, found: Transcript) -> Transcript:
    """The same, with what else could have stood where it was costly."""
    assert rollouts.samples.distributions is not None  # rollouts keep them
    tokens = list(found.tokens)
    for place in found.costliest:
        acting = rollouts.samples.distributions[row, place].float().exp()
        base = torch.softmax(rollouts.reference_logits[row, place].float(), dim=-1)
        token = tokens[place]
        tokens[place] = Token(
            token.piece, token.name, token.kl, token.log_probability, token.base_log_probability, token.entropy,
            _alternatives(policy, acting, base),
        )  # fmt: skip
    return Transcript(found.agent, found.prompt, found.text, tuple(tokens), found.budget)


def _alternatives(policy: Policy, acting: torch.Tensor, base: torch.Tensor) -> tuple[Alternative, ...]:
    count = min(SHOWN_ALTERNATIVES, len(acting))
    likely = dict.fromkeys([*acting.topk(count).indices.tolist(), *base.topk(count).indices.tolist()])
    found = [Alternative(_name(policy, token), float(acting[token]), float(base[token])) for token in likely]
    return tuple(sorted(found, key=lambda one: -one.probability))


def _name(policy: Policy, token: int) -> str:
    """A token by itself: its text where it has one, else as the vocabulary spells it."""
    text = str(policy.tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False))
    return text if text and "\ufffd" not in text else str(policy.tokenizer.convert_ids_to_tokens(token))


def _chosen(run: Run, agent: str | None, level: int | None) -> tuple[str, int]:
    """Id and level of the agent that is meant."""
    if agent == BASE:
        return BASE, level or 0
    known = artifacts(run, kind=ArtifactKind.AGENT)
    if agent is not None:
        named = [one for one in known if one.id == agent]
        if not named:
            names = ", ".join([*(one.id for one in known), BASE])
            raise RunError(f"There is no agent {agent!r} in this run; it has {names}.")
        return agent, named[0].level
    newest = known[-1] if level is None and known else newest_agents(run).get(-1 if level is None else level)
    if newest is None:
        where = "" if level is None else f" at level {level}"
        raise RunError(
            f"No agent has been trained{where} yet. Play a round (`rrm round`) until its step optimise, name another "
            f"agent, or `{BASE}` for the untrained base."
        )
    return newest.id, newest.level


def _prompt(bench: Workbench, level: int, document: int) -> str:
    if not 0 <= level < bench.task.levels:
        raise InvalidInput(f"The task {bench.task.name} has levels 0 to {bench.task.levels - 1}, got {level}.")
    return prompts_of(bench, [bench.document(Split.VALIDATION, level, document)])[0]


def _budget(run: Run, agent: str) -> float | None:
    known = [] if agent == BASE else artifacts(run, id=agent)
    return (AgentSection.model_validate(known[0].settings).budget or None) if known else None
