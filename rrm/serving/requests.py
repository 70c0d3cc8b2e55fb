"""What trainers ask a reward server, what it answers, and what it refuses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reward_models.errors import InvalidInput
from reward_models.estimate import unit
from reward_models.reward_function import RewardFunction
from rrm.serving.queries import ENDS, Opening, asked_in, completion_of


class TooLarge(InvalidInput):
    """More than the server takes at once."""


@dataclass(frozen=True)
class Limits:
    """What one request may hold."""

    size: int = 16 * 2**20
    """Bytes of its body."""
    items: int = 1024
    """Completions."""
    characters: int = 100_000
    """Characters of a prompt, a completion or a query; of messages, all of them together."""


class Message(BaseModel):
    """One turn of a conversation; what else a trainer keeps about it is not looked at."""

    model_config = ConfigDict(extra="ignore")

    role: str
    content: str


Said = Annotated[str | list[Message], Field(union_mode="left_to_right")]


class ScoreRequest(BaseModel):
    """Completions to score, and as many prompts: texts, or lists of messages."""

    model_config = ConfigDict(extra="forbid")

    prompts: list[Said]
    completions: list[Said]


class RemoteRequest(BaseModel):
    """What OpenRLHF sends to a remote reward model, in the words of its protocol."""

    model_config = ConfigDict(extra="ignore")

    query: list[str]
    """Each prompt with its completion, as one text."""
    prompts: list[str]
    labels: Any = None
    """Has no influence: a reward model needs no answer key."""


class ScoreReply(BaseModel):
    """One number of each kind for each completion, in logits; higher is better."""

    rewards: list[float]
    """What training is paid: the conservative reward."""
    mean: list[float]
    spread: list[float]


class RemoteReply(BaseModel):
    """What OpenRLHF reads."""

    rewards: list[float]
    """What training is paid: the conservative reward, in logits."""
    scores: list[float]
    """The same between 0 and 1, sigmoid(reward), for OpenRLHF's dynamic filtering."""
    extra_logs: dict[Literal["mean", "spread"], list[float]]
    """What it logs: mean and spread of the members."""


Request = TypeVar("Request", bound=BaseModel)


def parsed(kind: type[Request], body: bytes) -> Request:
    """The request that the body holds as JSON; InvalidInput with what is wrong with it."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise InvalidInput(_what_is_wrong(first["loc"], first["type"], first["msg"], known=kind)) from error


def score(rewards: RewardFunction, request: ScoreRequest, *, limits: Limits) -> ScoreReply:
    """Score completions of prompts.

    Raises TooLarge beyond the limits, InvalidInput for unequal numbers and what the model refuses, NonFinite where a
    number is not finite.
    """
    _check_numbers(len(request.completions), len(request.prompts), name="completions", limits=limits)
    prompts = [_plain(each, f"prompts[{row}]", limits=limits) for row, each in enumerate(request.prompts)]
    completions = [_plain(each, f"completions[{row}]", limits=limits) for row, each in enumerate(request.completions)]
    found = rewards.score(prompts, completions)
    return ScoreReply(rewards=list(found.rewards), mean=list(found.mean), spread=list(found.spread))


def remote_reward(
    rewards: RewardFunction,
    request: RemoteRequest,
    *,
    limits: Limits,
    ends: Sequence[str] = ENDS,
    opening: Opening | None = None,
) -> RemoteReply:
    """Score queries, each a prompt with its completion; `completion_of` finds the latter. Raises as `score` does.

    `opening` is the chat template of the model's own base, which the model puts around a prompt itself: where a trainer
    has done so already, it is taken off.
    """
    _check_numbers(len(request.query), len(request.prompts), name="query", limits=limits)
    prompts = [str(_plain(each, f"prompts[{row}]", limits=limits)) for row, each in enumerate(request.prompts)]
    queries = [str(_plain(each, f"query[{row}]", limits=limits)) for row, each in enumerate(request.query)]
    completions = [
        completion_of(query, prompt, ends=ends, name=f"query[{row}]")
        for row, (query, prompt) in enumerate(zip(queries, prompts, strict=True))
    ]
    asked = [asked_in(prompt, opening, name=f"prompts[{row}]") for row, prompt in enumerate(prompts)]
    found = rewards.score(asked, completions)
    return RemoteReply(
        rewards=list(found.rewards),
        scores=unit(torch.tensor(found.rewards, dtype=torch.float64)).tolist(),
        extra_logs={"mean": list(found.mean), "spread": list(found.spread)},
    )


def _check_numbers(count: int, prompts: int, *, name: str, limits: Limits) -> None:
    if count != prompts:
        raise InvalidInput(
            f"{prompts} prompts and {count} under {name!r} came; give as many prompts, repeated if need be"
        )
    if not count:
        raise InvalidInput(f"nothing stands under {name!r}; give at least one")
    if count > limits.items:
        raise TooLarge(
            f"{count} completions came in one request, and {limits.items} are the most; send several requests"
        )


def _plain(said: str | list[Message], name: str, *, limits: Limits) -> str | list[dict[str, str]]:
    """A text as it is, messages as the library knows them; TooLarge where they are too long."""
    length = len(said) if isinstance(said, str) else sum(len(message.content) for message in said)
    if length > limits.characters:
        raise TooLarge(f"{name} has {length} characters, and {limits.characters} are the most; shorten it")
    return said if isinstance(said, str) else [{"role": each.role, "content": each.content} for each in said]


def _what_is_wrong(place: tuple[int | str, ...], kind: str, message: str, *, known: type[BaseModel]) -> str:
    names = ", ".join(repr(name) for name in known.model_fields)
    if kind == "json_invalid":
        return f"the body is not JSON ({message[:200]}); send an object with {names}"
    if not place:
        return f"the body is not a JSON object; send one with {names}"
    field = str(place[0])[:40]
    row = next((part for part in place if isinstance(part, int)), None)
    where = field if row is None else f"{field}[{row}]"
    if kind == "missing" and len(place) == 1:
        return f"{where!r} is missing; send an object with {names}"
    if kind == "extra_forbidden":
        return f"{where!r} is not known here; send an object with {names}"
    if row is None:
        return f"{where} is not a list; give one entry for each completion"
    allowed = (
        "a text" if known is RemoteRequest else "a text or a list of messages with texts under 'role' and 'content'"
    )
    return f"{where} cannot be used ({message[:100]}); give {allowed}"
