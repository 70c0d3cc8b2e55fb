"""The rewards that OpenRLHF and verl receive from `rrm serve-reward`, beside those of the same run in this process.

    python -m benchmarks.trainers_rewards RUN MODEL

RUN has a fitted reward model at level 0; MODEL is a folder of a causal language model that writes the completions. What
asks is the trainers' own code: OpenRLHF's `SingleTurnAgentExecutor`, with `generate` in place of vLLM, and verl's
`load_reward_manager` with the settings of docs/other-trainers.md. Nothing is trained.

Needs what the project does not: `pip install --no-deps openrlhf==0.11.2 verl==0.9.1`, and what these import in turn
(aiohttp, hydra-core, pylatexenc, ray, requests, tensordict).
"""

import argparse
import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer

from reward_models.remote_reward import TOKEN_VARIABLE
from rrm.serving.rewards import RunRewards

PROMPTS = (
    "Once upon a time, there was a girl",
    "A dog found a red ball",
    " a space before it\nand a second line",
    "Ünïcode — “quotes” 😀",
)
TOKENS, CONTEXT = 40, 400
TOLERANCE = 1e-5
"""Of a reward of a few logits in single precision."""


class Written:
    """Completions of the four prompts, and the reward that OpenRLHF got for each."""

    def __init__(self, folder: str, url: str) -> None:
        from openrlhf.utils.agent import SingleTurnAgentExecutor

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder)
        executor = SingleTurnAgentExecutor([url])
        settings = SimpleNamespace(max_tokens=TOKENS, logprobs=None)
        self.outputs = [
            asyncio.run(executor.execute(prompt, "", settings, CONTEXT, self.tokenizer, self)) for prompt in PROMPTS
        ]

    async def generate(self, tokens: list[int], settings: Any, multi_modal_data: object) -> SimpleNamespace:
        """What OpenRLHF asks of vLLM."""
        torch.manual_seed(len(tokens))
        whole = self.model.generate(
            torch.tensor([tokens]), max_new_tokens=settings.max_tokens, do_sample=True, pad_token_id=0
        )[0]
        new = whole[len(tokens) :].tolist()
        one = SimpleNamespace(token_ids=new, text=self.tokenizer.decode(new), finish_reason="stop", logprobs=None)
        return SimpleNamespace(outputs=[one])

    def tokens(self, number: int) -> tuple[list[int], list[int]]:
        """Those of a prompt, and of what was written behind it."""
        output = self.outputs[number]
        start = output["action_ranges"][0][0]
        return output["observation_tokens"][:start], output["observation_tokens"][start:]

    def behind_prompt(self, number: int) -> str:
        """A completion as the whole text has it, with its first space and special tokens but for the end's."""
        text = self.tokenizer.decode(self.outputs[number]["observation_tokens"], skip_special_tokens=False)
        return str(text).removeprefix(PROMPTS[number]).removesuffix(self.tokenizer.eos_token)

    def by_itself(self, number: int) -> str:
        """A completion decoded alone, as verl does it: without special tokens, and without its first space where the
        tokenizer takes that for its own."""
        return str(self.tokenizer.decode(self.tokens(number)[1], skip_special_tokens=True))


def verl_rewards(written: Written, url: str) -> list[float]:
    import hydra
    import numpy as np
    from verl import DataProto
    from verl.trainer.ppo.reward import load_reward_manager

    function = "reward.custom_reward_function"
    settings = [
        f"{function}.path=pkg://reward_models.remote_reward",
        f"{function}.name=compute_score",
        f"+{function}.reward_kwargs.url={url}",
        f"+{function}.reward_kwargs.prompt_key=question",
    ]
    package = find_spec("verl")
    assert package is not None and package.origin is not None
    with hydra.initialize_config_dir(str(Path(package.origin).parent / "trainer" / "config"), version_base=None):
        manager = load_reward_manager(hydra.compose("ppo_trainer", overrides=settings), written.tokenizer)
    manager.loop = asyncio.new_event_loop()

    def asked(number: int) -> float:
        prompt, response = written.tokens(number)
        columns = {
            "data_source": "stories",
            "reward_model": {"ground_truth": ""},
            "extra_info": {"question": PROMPTS[number]},
        }
        data = DataProto.from_dict(
            tensors={
                "prompts": torch.tensor([prompt]),
                "responses": torch.tensor([response]),
                "attention_mask": torch.ones(1, len(prompt) + len(response), dtype=torch.long),
            },
            non_tensors={name: np.array([value], dtype=object) for name, value in columns.items()},
        )
        return float(manager.loop.run_until_complete(manager.run_single(data))["reward_score"])

    return [asked(number) for number in range(len(PROMPTS))]


@contextmanager
def served(run: str) -> Iterator[str]:
    """The address of a server of its own; its token is in the environment."""
    os.environ[TOKEN_VARIABLE] = secrets.token_hex(24)
    command = [sys.executable, "-m", "ui.cli", "serve-reward", run, "--level", "0", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            first = next((line for line in server.stdout if "http://" in line), "")
            yield "http://" + first.partition("http://")[2].strip().rstrip("/")
        finally:
            server.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("model")
    wanted = parser.parse_args()
    ours = RunRewards.open(wanted.run, level=0).reward_function(name="judged")
    with served(wanted.run) as url:
        written = Written(wanted.model, f"{url}/get_reward?token={os.environ[TOKEN_VARIABLE]}")
        numbers = range(len(PROMPTS))
        found = {
            "OpenRLHF": ([output["reward"][0] for output in written.outputs], [*map(written.behind_prompt, numbers)]),
            "verl": (verl_rewards(written, url), [*map(written.by_itself, numbers)]),
        }
    table = Table("trainer", "prompt", "its reward", "here")
    largest = 0.0
    for trainer, (rewards, completions) in found.items():
        expected: Sequence[float] = ours(list(PROMPTS), completions)
        for prompt, reward, here in zip(PROMPTS, rewards, expected, strict=True):
            table.add_row(trainer, repr(prompt), f"{reward:.6f}", f"{here:.6f}")
            largest = max(largest, abs(reward - here))
    Console().print(table)
    assert largest < TOLERANCE
    print(json.dumps({"rewards": 2 * len(PROMPTS), "largest_difference": largest}))


if __name__ == "__main__":
    main()
