"""A policy: a causal language model and its tokenizer, read from and written to plain Hugging Face folders.

The text of a prompt and the text of a completion are tokenised apart and their tokens joined, so a completion has the
same tokens whatever prompt it stands behind. A completion ends with the end-of-sequence token, which counts as one of
its tokens: ending is a choice the policy makes.
"""

import copy
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from agents import adapters
from agents.limits import AbstractLimit
from agents.model_settings import check_causal, context_of, other_stop_ids
from reward_models.conversations import Conversation, Rendered, messages, opened, tokenise
from reward_models.errors import InvalidInput
from reward_models.loading import load
from reward_models.seams import begins_with_space, following_text, following_tokens


class Policy:
    """A causal language model that continues prompts. The model is held in evaluation mode, without dropout.

    What the model's generation settings say of temperature or truncation has no influence: a policy is the distribution
    of its model. Where the model has more rows than the tokenizer has tokens, the rows that are no token can be drawn
    like any other, count and are paid for, and read as nothing.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        chat: bool = False,
        limited: "Limited | None" = None,
        condition: str = "",
    ) -> None:
        """Wrap a causal language model and its tokenizer.

        With `chat`, a prompt text is what a user says, and goes through the tokenizer's own chat template; without, it
        is continued as it stands. A `limited` policy acts within a limit of each episode. `condition` is text before
        every prompt. Raises `InvalidInput` for a model that is not causal, a tokenizer without an end-of-sequence
        token, and for `chat` without a template.
        """
        check_causal(model)
        if tokenizer.eos_token_id is None:
            raise InvalidInput(
                "The tokenizer has no end-of-sequence token, so no completion could ever end; set tokenizer.eos_token."
            )
        if chat and not tokenizer.chat_template:
            raise InvalidInput(
                "The tokenizer has no chat template; set the one of the model's own authors as "
                "tokenizer.chat_template, or leave `chat` out."
            )
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.chat = chat
        self.limited = limited
        self.condition = condition
        self.eos_id: int = int(tokenizer.eos_token_id)
        self.pad_id: int = self.eos_id if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
        self._other_stop_ids = other_stop_ids(model, tokenizer)
        self._known = len(tokenizer)
        self._spaced = begins_with_space(tokenizer)
        self._adapter = adapters.has_adapter(model)

    @classmethod
    def load(
        cls,
        path_or_name: str | Path,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        chat: bool = False,
    ) -> "Policy":
        """Read a causal language model and its tokenizer from a local folder or by its name on the Hub.

        Whether the network may be asked is left to the environment (`HF_HUB_OFFLINE`). Weights become float32 whatever
        is stored, as training needs, unless `dtype` says otherwise; without `device`, the CPU. Raises `ArtifactError`
        if there is no such model or it is incomplete, `InvalidInput` as the constructor.
        """
        found = load(AutoModelForCausalLM, path_or_name, max_length=None, dtype=dtype, device=device)
        return cls(found.model, found.tokenizer, chat=chat)

    @classmethod
    def load_adapter(cls, folder: str | Path, base: "Policy") -> "Policy":
        """The base with a LoRA adapter that `save` or peft wrote; its weights are shared as in `with_lora`.

        Raises `ArtifactError` if there is no adapter, it is damaged or it is of another model.
        """
        found = base._adaptable()
        adapters.read_adapter(found.model, Path(folder))
        found._adapter = True
        return found

    def with_lora(
        self,
        rank: int = 8,
        *,
        generator: torch.Generator,
        alpha: int | None = None,
        targets: Sequence[str] | None = None,
    ) -> "Policy":
        """A policy that acts as this one does now, of which only LoRA adapters are trained.

        They go into the linear layers called `targets`, or into all of the network but the output layer, and are scaled
        by `alpha` / rank (2, if not given). Adapters start at values drawn from `generator`. All other weights are
        frozen and lie in memory once, for this policy and the new one: do not train this one in place afterwards.
        Raises `InvalidInput` for unusable values, or if there is an adapter already.
        """
        found = self._adaptable()
        scale = 2 * rank if alpha is None else alpha
        adapters.add_lora(found.model, rank=rank, alpha=scale, targets=targets, generator=generator)
        found._adapter = True
        return found

    def without_adapter(self) -> "Policy":
        """The same model with its adapter switched off: the reference of an adapter in training, in the same memory.

        It has no limit, as what limits are measured from has none.
        """
        found = copy.copy(self)
        found._adapter = False
        found.limited = None
        return found

    def merged(self) -> "Policy":
        """A policy without adapters that acts like this one, with weights of its own."""
        if not adapters.has_adapter(self.model):
            return self.copy()
        found = copy.copy(self)
        found.model = adapters.merged(self.model, on=self._adapter).eval()
        found._adapter = False
        return found

    def save(self, folder: str | Path) -> None:
        """Write a Hugging Face folder: first under a temporary name beside it, then by renaming.

        With an adapter, the folder of a PEFT adapter and its tokenizer, without the weights below. A killed process
        leaves no half-written folder under the given name; an existing folder is replaced.
        """
        target = Path(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            if self._adapter:
                adapters.write_adapter(self.model, temporary)
            else:
                plain = self.merged() if adapters.has_adapter(self.model) else self
                plain.model.save_pretrained(temporary)
            self.tokenizer.save_pretrained(temporary)
            _put_in_place(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def copy(self) -> "Policy":
        """A policy with weights of its own, equal to these; the tokenizer is shared, as nothing here changes it."""
        found = copy.copy(self)
        found.model = copy.deepcopy(self.model)
        return found

    def within(self, limit: AbstractLimit, reference: "Policy") -> "Policy":
        """The same weights, acting within a limit that is measured from `reference`.

        Raises `InvalidInput` if that has a limit of its own, or another number of tokens.
        """
        if reference.limited is not None:
            raise InvalidInput("The reference of a limit acts within a limit itself; take the policy it was made from.")
        if reference.vocabulary != self.vocabulary:
            raise InvalidInput(
                f"The reference of a limit has {reference.vocabulary} tokens and the policy {self.vocabulary}; both "
                "must be of one vocabulary."
            )
        found = copy.copy(self)
        found.limited = Limited(limit=limit, reference=reference)
        return found

    def conditioned(self, condition: str) -> "Policy":
        """The same weights, reading `condition` before every prompt."""
        found = copy.copy(self)
        found.condition = condition
        return found

    @contextmanager
    def active(self) -> Iterator[PreTrainedModel]:
        """The model as this policy uses it, its adapter on or off; every pass stands inside."""
        with adapters.switched(self.model, on=self._adapter):
            yield self.model

    def is_same_as(self, other: "Policy") -> bool:
        """Whether both use the same weights, so that training one trains the other: one model, its adapter included."""
        return self.model is other.model and self._adapter == other._adapter

    def check_reference(self, reference: "Policy") -> None:
        """Raises `InvalidInput` if there is a limit, and it is measured from something else than `reference`."""
        if self.limited is not None and not reference.reads_as(self.limited.reference):
            raise InvalidInput(
                "The policy's limit is measured from another reference than the one given; pass the reference that "
                "`policy.within` was given."
            )

    def reads_as(self, other: "Policy") -> bool:
        """Whether both give every prompt the same probabilities, without limits: same weights, read in the same way."""
        return self.is_same_as(other) and (self.chat, self.condition) == (other.chat, other.condition)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return torch.device(self.model.device)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end a completion: the tokenizer's end-of-sequence token, and what else the model's settings name.

        Chat models often end a turn and a text with different tokens, which `generation_config.eos_token_id` lists.
        """
        return (self.eos_id, *self._other_stop_ids)

    @property
    def vocabulary(self) -> int:
        """Rows of the output layer: tokens that can be drawn."""
        return int(self.model.get_output_embeddings().weight.shape[0])

    @property
    def width(self) -> int:
        """Numbers in the last hidden state, which the output layer reads."""
        return int(self.model.get_output_embeddings().weight.shape[1])

    @property
    def context(self) -> int | None:
        """The longest prompt with its completion, in tokens; None if the model states no limit."""
        return context_of(self.model)

    def encode_prompt(self, prompt: Conversation) -> list[int]:
        """Tokens of a prompt, up to where the completion begins; `InvalidInput` if none remain.

        A text is tokenised with the tokenizer's own beginning token if it has one; of a `chat` policy it is one message
        of the user, and a list of messages is a chat for any policy: those go through the tokenizer's own template,
        with its opening of an answer. The condition stands before the text, or before what the user says first.
        """
        if isinstance(prompt, str) and not self.chat:
            text = self.condition + prompt
            tokens = self._encode(Rendered(text=text, boundary=len(text), templated=False))
            # Some tokenizers close every text with the end token; a prompt goes on.
            while tokens and tokens[-1] == self.eos_id:
                tokens.pop()
        else:
            tokens = self._encode(opened(self.tokenizer, self._asked(prompt)))
        if not tokens:
            raise InvalidInput(f"The prompt {prompt!r} has no tokens; a prompt needs at least one.")
        return tokens

    def encode_completion(self, text: str) -> list[int]:
        """Tokens of a completion, closed by the end-of-sequence token."""
        return [*following_tokens(self.tokenizer, text, spaced=self._spaced), self.eos_id]

    def decode(self, tokens: list[int]) -> str:
        """The text of completion tokens up to the first one that ends a completion."""
        end = next((place for place, token in enumerate(tokens) if token in self.stop_ids), len(tokens))
        known = [token for token in tokens[:end] if token < self._known]
        return following_text(self.tokenizer, known, spaced=self._spaced)

    def _adaptable(self) -> "Policy":
        """The same policy on a model of its own whose weights are shared and frozen."""
        if adapters.has_adapter(self.model):
            raise InvalidInput("This policy has an adapter already; train that one, or take `policy.merged()`.")
        found = copy.copy(self)
        found.model = adapters.on_shared_weights(self.model)
        return found

    def _asked(self, prompt: Conversation) -> list[dict[str, str]]:
        asked = messages(prompt, role="user")
        for message in asked:
            if message["role"] == "user":
                message["content"] = self.condition + message["content"]
                break
        return asked

    def _encode(self, text: Rendered) -> list[int]:
        return tokenise(self.tokenizer, [text])[0]


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
