"""Rewards from a server (`rrm serve-reward`), for trainers that run elsewhere: TRL, verl, or a program of your own.

Nothing here needs torch, so `pip install --no-deps` of this project is enough beside any trainer. A server is asked
directly, never through a proxy and never where it might redirect to: requests carry a secret.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, final
from urllib.parse import urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, Request

from reward_models.errors import InvalidInput, ServerError
from reward_models.rewards import Rewards

Conversation = str | Sequence[Mapping[str, str]]
"""As `reward_models.conversations` has it, which needs transformers."""

TOKEN_VARIABLE = "RRM_TOKEN"
"""The environment variable that holds the token where none is given."""
BATCH = 128
"""Pairs in one request; a longer list is asked in several."""
LARGEST_BODY = 16 * 2**20
"""Bytes of a request that a server takes; pairs that need more are asked in several."""
LONGEST_REPLY = 2**24
"""Bytes of a reply that are read."""


@final
class RemoteReward:
    """A reward function of TRL's signature that asks a server; also what `compute_score` uses."""

    def __init__(
        self, url: str, *, token: str | None = None, name: str = "remote_reward", timeout: float = 600.0
    ) -> None:
        """Name a server; nothing is asked yet.

        Args:
            url: where it is, such as `http://127.0.0.1:8100`.
            token: the server's; without one, the environment variable `RRM_TOKEN`.
            name: under which a trainer logs the rewards.
            timeout: seconds to wait for an answer; the server answers one request at a time.

        Raises InvalidInput for an address that is not http or https, and where there is no token.
        """
        found = (token or os.environ.get(TOKEN_VARIABLE, "")).strip()
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise InvalidInput(f"the reward server's address is {url!r}; give one such as http://127.0.0.1:8100")
        if not found:
            raise InvalidInput(
                f"there is no token for the reward server at {url}; set the environment variable {TOKEN_VARIABLE} to "
                "what `rrm serve-reward` printed, or what its token file holds"
            )
        if not (found.isascii() and found.isprintable()):
            raise InvalidInput("the token of the reward server must be one line of ASCII; look at where it comes from")
        self.url = url.rstrip("/")
        self.timeout = timeout
        self.__name__ = name
        self._token = found

    def __call__(
        self, prompts: Sequence[Conversation], completions: Sequence[Conversation], **columns: object
    ) -> list[float]:
        """One reward for each completion; `columns` is TRL's signature, of which `log_metric` is used if it is there.

        Raises as `score` does.
        """
        found = self.score(prompts, completions)
        found.log(columns.get("log_metric"), name=self.__name__)
        return list(found.rewards)

    def score(self, prompts: Sequence[Conversation], completions: Sequence[Conversation]) -> Rewards:
        """What the server's model thinks of each completion, in their order; a text or messages each.

        Raises InvalidInput for unequal numbers and for what the server refuses, ServerError where it cannot be reached,
        fails, or answers with something else than as many finite numbers.
        """
        if isinstance(prompts, str) or isinstance(completions, str) or len(prompts) != len(completions):
            raise InvalidInput(
                f"{len(prompts)} prompts and {len(completions)} completions came; give two lists of one length"
            )
        return self._ask_in_parts(prompts, completions, most=BATCH)

    def _ask_in_parts(
        self, prompts: Sequence[Conversation], completions: Sequence[Conversation], *, most: int
    ) -> Rewards:
        """So many pairs at a time."""
        parts = [
            self._ask(prompts[start : start + most], completions[start : start + most])
            for start in range(0, len(prompts), most)
        ]
        return Rewards(
            rewards=tuple(number for part in parts for number in part.rewards),
            mean=tuple(number for part in parts for number in part.mean),
            spread=tuple(number for part in parts for number in part.spread),
        )

    def _ask(self, prompts: Sequence[Conversation], completions: Sequence[Conversation]) -> Rewards:
        body = _body(prompts, completions)
        # A single pair that is too large goes out as well: why it is refused, the server says best.
        if len(body) > LARGEST_BODY and len(prompts) > 1:
            return self._ask_in_parts(prompts, completions, most=(len(prompts) + 1) // 2)
        reply = self._post(body)
        return Rewards(*(self._numbers(reply, name, len(prompts)) for name in ("rewards", "mean", "spread")))

    def _post(self, body: bytes) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        request = Request(f"{self.url}/score", data=body, headers=headers, method="POST")
        try:
            with _opener().open(request, timeout=self.timeout) as answer:
                status, said = answer.status, answer.read(LONGEST_REPLY)
        except (OSError, HTTPException) as error:
            raise ServerError(
                f"the reward server at {self.url} cannot be asked ({error}); see that `rrm serve-reward` runs there"
            ) from error
        reply = _parsed(said)
        if status == 200:
            return reply
        sentence = reply.get("error") if isinstance(reply, dict) else None
        refused = InvalidInput if status in (400, 413, 422) else ServerError
        raise refused(f"the reward server at {self.url} refuses ({status}): {sentence or 'it does not say why'}")

    def _numbers(self, reply: object, name: str, count: int) -> tuple[float, ...]:
        found = reply.get(name) if isinstance(reply, dict) else None
        usable = isinstance(found, list) and len(found) == count
        if not usable or not all(isinstance(each, int | float) and math.isfinite(each) for each in found or ()):
            raise ServerError(
                f"the server at {self.url} does not answer with {count} finite numbers under {name!r}; is it one that "
                "`rrm serve-reward` started, of this version?"
            )
        return tuple(float(each) for each in found or ())


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: object,
    extra_info: Mapping[str, Any] | None = None,
    *,
    url: str = "http://127.0.0.1:8100",
    token_file: str | None = None,
    prompt_key: str = "question",
) -> dict[str, float]:
    """A custom reward function of verl: asks a reward server about one completion.

    verl hands over the completion, but not its prompt; that must stand in the data set's `extra_info`.

    Args:
        data_source: the data set's name; has no influence.
        solution_str: the completion.
        ground_truth: has no influence: a reward model needs no answer key.
        extra_info: the data set's own column.
        url: where the server is; verl sets it and what follows by `reward_kwargs`.
        token_file: a file that holds the token; without one, the environment variable `RRM_TOKEN`.
        prompt_key: the place in `extra_info` where the prompt stands.

    Returns `score`, the reward that verl uses, and `mean` and `spread` of the members, which it logs. Raises
    InvalidInput where the prompt is missing, and as `RemoteReward` does.
    """
    prompt = (extra_info or {}).get(prompt_key)
    if not isinstance(prompt, str):
        raise InvalidInput(
            f"extra_info of {data_source!r} has no text under {prompt_key!r}, but {sorted(extra_info or {})}; a reward "
            "model reads the prompt: name its place with reward_kwargs.prompt_key"
        )
    found = RemoteReward(url, token=_token_in(token_file) if token_file else None).score([prompt], [solution_str])
    return {"score": found.rewards[0], "mean": found.mean[0], "spread": found.spread[0]}


def _token_in(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"the token file {file} cannot be read as text ({error}); name the one that `rrm serve-reward` was given"
        ) from error


def _body(prompts: Sequence[Conversation], completions: Sequence[Conversation]) -> bytes:
    """As UTF-8: escaped, a character that is not ASCII would take up to four times the room."""
    asked = {"prompts": list(prompts), "completions": list(completions)}
    try:
        return json.dumps(asked, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"a prompt or completion holds half a character (U+{ord(error.object[error.start]):04X}); write it whole"
        ) from error
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"a prompt or completion is neither a text nor a list of messages ({error})") from error


def _opener() -> OpenerDirector:
    """Without the handlers that follow redirects, ask proxies, or take an error for an exception."""
    opener = OpenerDirector()
    opener.add_handler(HTTPHandler())
    opener.add_handler(HTTPSHandler())
    return opener


def _parsed(said: bytes) -> Any:
    try:
        return json.loads(said)
    except ValueError:
        return None
