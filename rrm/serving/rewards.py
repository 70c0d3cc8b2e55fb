"""The reward model of a run as a scorer of texts: for reward functions and for the reward server."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float

from agents.policy import Policy
from reward_models.conversations import Conversation, opened
from reward_models.errors import InvalidInput
from reward_models.reward_function import RewardFunction
from reward_models.reward_model import AbstractScorer
from rrm.config import RewardSection
from rrm.errors import RunError
from rrm.opening import open_workbench
from rrm.rewards.models import AbstractRewards
from rrm.rewards.reading import read
from rrm.serving.queries import Opening
from rrm.sessions.current import current_model

TOGETHER = 16
"""Completions of one prompt that are read in one pass, which bounds the memory it takes."""
_MARK = "what-the-user-says"


@final
class RunRewards(AbstractScorer):
    """What a run's reward model thinks of completions of any prompt.

    Prompts are read as they come: the sentences that the run's task puts around a document are not added. Where the
    run's base is a chat model, a prompt is what its user says, as it is in the run. A reward model knows best what it
    was fitted on, so give it prompts like those of its run.
    """

    def __init__(self, rewards: AbstractRewards, base: Policy, *, name: str, settings: RewardSection) -> None:
        """Put together what `open` reads."""
        self.rewards = rewards
        self.base = base
        self.name = name
        self.settings = settings

    @classmethod
    def open(cls, folder: Path | str, *, level: int) -> "RunRewards":
        """Read the current reward model of a level: a session's, or that of the last round.

        It stays the one that was current now, whatever becomes of the run; the run is not held open. Raises RunError if
        the level has none yet, and what `open_workbench` does.
        """
        with open_workbench(Path(folder), exclusive=False) as bench:
            model = current_model(bench.run, level)
            if model is None:
                raise RunError(
                    f"Level {level} has no reward model yet; play its round first with `rrm round {folder}`."
                )
            return cls(
                bench.rewards(model),
                bench.base,
                name=model.id,
                settings=RewardSection.model_validate(model.settings),
            )

    @property
    def members(self) -> int:
        """Number of members, K."""
        return self.rewards.members

    @property
    def ends(self) -> tuple[str, ...]:
        """Texts of the tokens by which the base ends or pads a completion."""
        tokens = (self.base.tokenizer.eos_token, self.base.tokenizer.pad_token)
        return tuple(dict.fromkeys(str(token) for token in tokens if token))

    @property
    def opening(self) -> Opening | None:
        """What the base's chat template puts around a prompt; None for a model without one, or where it is odd."""
        if not self.base.chat:
            return None
        text = opened(self.base.tokenizer, [{"role": "user", "content": _MARK}]).text
        return Opening(*text.split(_MARK)) if text.count(_MARK) == 1 else None

    def reward_function(self, *, name: str = "reward") -> RewardFunction:
        """The reward that this run's own agents are trained on, as a function for TRL."""
        return RewardFunction(
            self, conservative=self.settings.conservative, coefficient=self.settings.coefficient, name=name
        )

    def scores(
        self, prompts: Sequence[Conversation], completions: Sequence[Conversation]
    ) -> Float[torch.Tensor, "members sequences"]:
        """Every member's score of every completion, on the CPU.

        A prompt is a text or one message of the user, a completion a text or one message of the assistant; what they
        say is read, and of what does not fit the model as much as does. Raises InvalidInput for other conversations,
        and for prompts without tokens.
        """
        asked = [_said(prompt, role="user", name=f"prompts[{row}]") for row, prompt in enumerate(prompts)]
        answered = [_said(text, role="assistant", name=f"completions[{row}]") for row, text in enumerate(completions)]
        found = torch.zeros(self.members, len(answered))
        for prompt, rows in _by_prompt(asked).items():
            for start in range(0, len(rows), TOGETHER):
                part = rows[start : start + TOGETHER]
                try:
                    reading = read(self.base, [prompt], [[answered[row] for row in part]], names=self.rewards.reads)
                except InvalidInput as error:
                    raise InvalidInput(f"prompts[{rows[0]}] cannot be read: {error}") from error
                found[:, part] = self.rewards.scores(reading).detach().cpu().float()
        return found


def _by_prompt(prompts: Sequence[str]) -> Mapping[str, list[int]]:
    """The rows of each prompt: where there are several completions of it, it is read once."""
    rows: dict[str, list[int]] = {}
    for row, prompt in enumerate(prompts):
        rows.setdefault(prompt, []).append(row)
    return rows


def _said(conversation: Conversation, *, role: str, name: str) -> str:
    if isinstance(conversation, str):
        return conversation
    roles = [message.get("role") for message in conversation]
    text = conversation[0].get("content") if roles == [role] else None
    if not isinstance(text, str):
        raise InvalidInput(
            f"{name} has messages of {roles}; the reward model of a run reads a text, or one message of the {role} "
            "with a text under 'content'"
        )
    return text
