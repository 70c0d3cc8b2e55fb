"""A policy: a causal language model and its tokenizer, read from and written to plain Hugging Face folders.

The text of a prompt and the text of a completion are tokenised apart and their tokens joined, so a completion has the
same tokens whatever prompt it stands behind. A completion ends with the end-of-sequence token, which counts as one of
its tokens: ending is a choice the policy makes.
"""

import copy
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from agents.limits import AbstractLimit
from reward_models.errors import ArtifactError, InvalidInput


class Policy:
    """A causal language model that continues prompts. The model is held in evaluation mode, without dropout."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        limited: "Limited | None" = None,
        condition: str = "",
    ) -> None:
        """Wrap a model and its tokenizer; the tokenizer must have an end-of-sequence token (else `InvalidInput`).

        A `limited` policy acts within a limit of each episode. `condition` is text before every prompt.
        """
        if tokenizer.eos_token_id is None:
            raise InvalidInput(
                "The tokenizer has no end-of-sequence token, so no completion could ever end; set tokenizer.eos_token."
            )
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.limited = limited
        self.condition = condition
        self.eos_id: int = int(tokenizer.eos_token_id)
        self.pad_id: int = self.eos_id if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)

    @classmethod
    def load(cls, folder: str | Path) -> "Policy":
        """Read a causal language model and its tokenizer from a local folder or by its name on the Hub.

        Whether the network may be asked is left to the environment (`HF_HUB_OFFLINE`). Raises `ArtifactError` if there
        is no such model or it is not a causal language model.
        """
        try:
            model = AutoModelForCausalLM.from_pretrained(str(folder))
            tokenizer = AutoTokenizer.from_pretrained(str(folder))
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ArtifactError(
                f"No causal language model could be read from '{folder}' ({first_line}). Expected a Hugging Face "
                "folder with config.json, weights and tokenizer files, or the name of such a model; check the path."
            ) from error
        return cls(model, tokenizer)

    def save(self, folder: str | Path) -> None:
        """Write a Hugging Face folder: first under a temporary name beside it, then by renaming.

        A killed process leaves no half-written folder under the given name; an existing folder is replaced.
        """
        target = Path(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            self.model.save_pretrained(temporary)
            self.tokenizer.save_pretrained(temporary)
            _put_in_place(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def copy(self) -> "Policy":
        """A policy with weights of its own, equal to these; the tokenizer is shared, as nothing here changes it."""
        return Policy(copy.deepcopy(self.model), self.tokenizer, limited=self.limited, condition=self.condition)

    def within(self, limit: AbstractLimit, reference: "Policy") -> "Policy":
        """The same weights, acting within a limit that is measured from `reference`."""
        return Policy(
            self.model,
            self.tokenizer,
            limited=Limited(limit=limit, reference=reference),
            condition=self.condition,
        )

    def conditioned(self, condition: str) -> "Policy":
        """The same weights, reading `condition` before every prompt."""
        return Policy(self.model, self.tokenizer, limited=self.limited, condition=condition)

    @contextmanager
    def active(self) -> Iterator[PreTrainedModel]:
        """The model as this policy uses it; every pass stands inside."""
        yield self.model

    def is_same_as(self, other: "Policy") -> bool:
        """Whether both always act alike, because they are one model used in one way."""
        return self.model is other.model

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return torch.device(self.model.device)

    def encode_prompt(self, text: str) -> list[int]:
        """Tokens of a prompt, with the tokenizer's own beginning token if it has one; `InvalidInput` if none remain."""
        tokens = self._encode(self.condition + text, add_special_tokens=True)
        # Some tokenizers close every text with the end token; a prompt goes on.
        while tokens and tokens[-1] == self.eos_id:
            tokens.pop()
        if not tokens:
            raise InvalidInput(f"The prompt {text!r} has no tokens; a prompt needs at least one.")
        return tokens

    def encode_completion(self, text: str) -> list[int]:
        """Tokens of a completion, closed by the end-of-sequence token."""
        return [*self._encode(text, add_special_tokens=False), self.eos_id]

    def decode(self, tokens: list[int]) -> str:
        """The text of completion tokens up to the first end-of-sequence token."""
        end = tokens.index(self.eos_id) if self.eos_id in tokens else len(tokens)
        text = self.tokenizer.decode(tokens[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)

    def _encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        tokens = self.tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"]
        return [int(token) for token in tokens]


@dataclass(frozen=True, eq=False)
class Limited:
    """A limit of each episode, and what it is measured from."""

    limit: AbstractLimit
    """What an episode may spend."""
    reference: Policy
    """Of the same vocabulary; itself without a limit."""


def _put_in_place(temporary: Path, target: Path) -> None:
    """Rename a finished folder over its name; the few microseconds between the two renames are the only gap."""
    temporary.chmod(0o755)  # mkdtemp makes it private
    if not target.exists():
        temporary.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    os.replace(target, old / "old")
    temporary.rename(target)
    shutil.rmtree(old, ignore_errors=True)
