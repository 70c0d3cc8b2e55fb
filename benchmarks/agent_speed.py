"""How fast agents sample and train, beside TRL's GRPOTrainer and plain `generate` on the same model and prompts.

The same weights, prompts, groups of 8, new tokens, learning rate and clipping go to both sides, in single precision, on
one thread, without gradient checkpointing, with a penalty to a reference (beta 0.05), one optimiser step per batch and
a reward that costs nothing. Nobody may end a completion early: on either side the end-of-sequence token is one that no
vocabulary has, which changes no distribution, so both do the same number of tokens; the table says how many each did.

    step     ours: `OnPolicy.draw` (sampling, the reference's pass, the reward) and `RLOO().update` with AdamW;
             TRL's: one step of GRPOTrainer (the same parts), from its own callbacks, so without its data loader
    sample   ours: `sample` from text, with its log-probabilities; theirs: `model.generate`, pure sampling, from tokens

What is timed is the processor time of this one thread, so that other work on the machine does not count. The two sides
alternate: each of our steps is taken between two of TRL's, and each ratio is that of neighbours; medians are reported.
The prompts are those of the shift log, of 68 and 200 tokens with as many new tokens as a brief of that level has, and
the first 16 tokens of one behind a random Llama of about 1.2M parameters, where no prompt is worth sharing.

    python -m benchmarks.agent_speed [--quick]

Where there is a GPU the same follows on a Qwen2-like model of half a billion random weights, by the wall clock, with
the tokens a second that the memory's bandwidth would allow. TRL comes with the extra `bench`. The last line holds the
less favourable of levels 1 and 2 as `long`; ratios above 1 mean that we are faster.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Before any of the libraries is imported: no telemetry, no look at the Hub.
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")

import datasets
import torch
import transformers
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, Qwen2Config
from transformers.models.qwen2 import Qwen2ForCausalLM

from agents.batch import Batch
from agents.learner import Learner
from agents.objectives.rloo import RLOO
from agents.policy import Policy
from agents.rollout import Rollouts, sample
from agents.sources import OnPolicy, generator_of
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.task import Split

GROUP = 8
BETA = 0.05
RATE = 1e-4
CLIP = 1.0
NOBODY = 10**6
"""As end-of-sequence token: in no vocabulary here, so no completion ends before its time."""


@dataclass(frozen=True)
class Case:
    """What both sides work on."""

    name: str
    folder: Path
    """The model and its tokenizer."""
    prompts: list[str]
    new_tokens: int
    device: str = "cpu"

    @property
    def completions(self) -> int:
        return len(self.prompts) * GROUP


@dataclass
class Clock:
    """Seconds of every turn of a side, and the completion tokens that it did in them."""

    device: str
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    tokens: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def now(self) -> float:
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def turn(self, side: str, work: Callable[[], int]) -> None:
        began = self.now()
        tokens = work()
        self.record(side, self.now() - began, tokens)

    def record(self, side: str, seconds: float, tokens: int) -> None:
        self.seconds[side].append(seconds)
        self.tokens[side].append(tokens)

    def ratio(self, theirs: str, ours: str) -> float:
        """The median of their time over ours, neighbours with neighbours; the first turn of each warms up."""
        return statistics.median(a / b for a, b in zip(self.seconds[theirs][1:], self.seconds[ours][1:], strict=True))

    def median(self, side: str) -> float:
        return statistics.median(self.seconds[side][1:])


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    figures: dict[str, dict[str, float]] = {}
    console = Console(width=120)
    with tempfile.TemporaryDirectory() as scratch:
        for case in cases(Path(scratch), options):
            figures[case.name] = compare(case, Path(scratch), options.turns, console)
        if torch.cuda.is_available():
            large = large_case(Path(scratch), options.prompts)
            figures[large.name] = compare(large, Path(scratch), options.turns, console)
            bandwidth(large, figures[large.name], console)
        else:
            missing = Table("side", "seconds (median)", title="GPU, 200 tokens of prompt, 64 new")
            missing.add_row("all", "not run: there is no GPU here")
            console.print(missing)
    print(json.dumps(summary(figures)))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Sampling and training speed beside TRL's GRPOTrainer and generate.")
    parser.add_argument("--prompts", type=int, default=8, help="prompts of one batch, 8 completions each")
    parser.add_argument("--turns", type=int, default=12, help="timed turns of each side, one more to warm up")
    parser.add_argument("--longest", action="store_true", help="room for the longest briefs, not their usual length")
    parser.add_argument("--quick", action="store_true", help="3 turns")
    options = parser.parse_args()
    if options.quick:
        options.turns = 3
    return options


def summary(figures: dict[str, dict[str, float]]) -> dict[str, object]:
    long = [found for name, found in figures.items() if name.startswith("level")]
    short = [found for name, found in figures.items() if name.startswith("16")]
    worst = {
        "step_vs_trl_long": min(found["step"] for found in long),
        "step_vs_trl_short": min(found["step"] for found in short),
        "sample_vs_generate_long": min(found["sample"] for found in long),
        "sample_vs_generate_short": min(found["sample"] for found in short),
    }
    rounded = {name: {key: round(value, 2) for key, value in found.items()} for name, found in figures.items()}
    return {key: round(value, 2) for key, value in worst.items()} | {"by_case": rounded}


def compare(case: Case, scratch: Path, turns: int, console: Console) -> dict[str, float]:
    """Both sides by turns: first steps of training, then samples."""
    clock = Clock(case.device)
    train_by_turns(case, scratch, turns, clock)
    sample_by_turns(case, turns, clock)
    table = Table("side", "seconds (median)", "completion tokens a turn", "tokens/s", title=case.name)
    for side in clock.seconds:
        tokens = sorted(set(clock.tokens[side]))
        assert tokens == [case.completions * case.new_tokens], f"{side} did {tokens} tokens in {case.name}"
        seconds = clock.median(side)
        table.add_row(side, f"{seconds:.4f}", ", ".join(map(str, tokens)), f"{tokens[0] / seconds:,.0f}")
    console.print(table)
    found = {"step": clock.ratio("TRL step", "our step"), "sample": clock.ratio("generate", "our sample")}
    console.print({key: round(value, 2) for key, value in found.items()})
    return found | {"tokens_per_second": case.completions * case.new_tokens / clock.median("our sample")}


# A step of training


def train_by_turns(case: Case, scratch: Path, turns: int, clock: Clock) -> None:
    """TRL trains; whenever one of its steps is over, one of ours is taken."""
    trainer = trl_trainer(case, scratch, steps=turns + 1)
    our_step = our_training(case)
    done = iter(range(turns + 1))

    class Alternate(transformers.TrainerCallback):  # type: ignore[misc]
        began = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = clock.now()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds = clock.now() - self.began
            clock.record("TRL step", seconds, int(sum(trainer.completion_tokens)))
            trainer.completion_tokens.clear()
            step = next(done)
            clock.turn("our step", lambda: our_step(step))

    trainer.add_callback(Alternate())
    trainer.train()


def our_training(case: Case) -> Callable[[int], int]:
    """A function that takes one step and says how many tokens it did."""
    reference = load(case)
    learner = Learner(reference.copy(), reference, learning_rate=RATE, clip_norm=CLIP)
    learner.policy.eos_id = NOBODY
    source = OnPolicy(
        case.prompts, free_reward, prompts_per_step=len(case.prompts), group=GROUP, max_new_tokens=case.new_tokens
    )

    def step(number: int) -> int:
        material = source.draw(learner, samples_from="policy", seed=0, step=number)
        batch = Batch(material.rollouts, material.rewards, beta=BETA)
        RLOO().update(learner, batch, generator_of("update", seed=0, number=number))
        return int(batch.mask.sum())

    return step


def free_reward(rollouts: Rollouts) -> Tensor:
    """Something that differs, and costs nothing."""
    return torch.arange(len(rollouts.samples), dtype=torch.float32) % 3


def trl_trainer(case: Case, scratch: Path, *, steps: int) -> Any:
    try:
        from trl import GRPOConfig, GRPOTrainer
    except ImportError as error:
        raise SystemExit(f"TRL is not there ({error}); install the extra `bench`") from error
    tokens: list[int] = []

    def free(completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        tokens.append(sum(len(ids) for ids in completion_ids))
        return [float(row % 3) for row in range(len(completions))]

    config = GRPOConfig(
        output_dir=str(scratch / "trl"),
        max_steps=steps,
        per_device_train_batch_size=case.completions,
        num_generations=GROUP,
        max_completion_length=case.new_tokens,
        beta=BETA,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        max_grad_norm=CLIP,
        optim="adamw_torch",
        temperature=1.0,
        generation_kwargs={"eos_token_id": NOBODY},
        use_cpu=case.device == "cpu",
        bf16=False,
        gradient_checkpointing=False,
        dataloader_num_workers=0,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )
    model = AutoModelForCausalLM.from_pretrained(case.folder, dtype="float32")
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=free,
        args=config,
        train_dataset=datasets.Dataset.from_dict({"prompt": case.prompts}),
        processing_class=AutoTokenizer.from_pretrained(case.folder, padding_side="left"),
    )
    trainer.eos_token_ids = [NOBODY]
    trainer.completion_tokens = tokens
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


# Sampling


def sample_by_turns(case: Case, turns: int, clock: Clock) -> None:
    policy = load(case)
    policy.eos_id = NOBODY
    rows = [row for prompt in case.prompts for row in [policy.encode_prompt(prompt)] * GROUP]
    assert len({len(row) for row in rows}) == 1, "generate would need padding"
    prompt_tokens = torch.tensor(rows, device=case.device)
    mask = torch.ones_like(prompt_tokens)

    def ours(number: int) -> int:
        noise = torch.Generator().manual_seed(number)
        drawn = sample(policy, case.prompts, group=GROUP, max_new_tokens=case.new_tokens, generator=noise)
        return int(drawn.mask.sum())

    def theirs() -> int:
        out = policy.model.generate(
            input_ids=prompt_tokens,
            attention_mask=mask,
            max_new_tokens=case.new_tokens,
            do_sample=True,
            top_k=0,
            top_p=1.0,
            temperature=1.0,
            eos_token_id=NOBODY,
            pad_token_id=policy.pad_id,
        )
        return int(out[:, prompt_tokens.shape[1] :].numel())

    for number in range(turns + 1):
        clock.turn("generate", theirs)
        clock.turn("our sample", lambda number=number: ours(number))  # type: ignore[misc]


# Models and prompts


def load(case: Case) -> Policy:
    policy = Policy.load(case.folder)
    policy.model.to(case.device)
    return policy


def cases(scratch: Path, options: argparse.Namespace) -> list[Case]:
    """A brief of level 1 has 12 tokens on average and at most about 24; of level 2, 20 and about 45."""
    task = Shiftlog(seed=0)
    made = []
    for level, usual, longest in ((1, 12, 24), (2, 20, 40)):
        documents = [task.document(split=Split.TRAIN, level=level, index=index) for index in range(options.prompts)]
        prompts = [task.prompt(document) for document in documents]
        new_tokens = longest if options.longest else usual
        made.append(Case(f"level {level}, {new_tokens} new tokens", task.base_model(), prompts, new_tokens))
    folder = write_random(scratch / "llama", small_llama)
    made.append(Case("16 tokens of prompt, 32 new", folder, random_prompts(folder, options.prompts, 16), 32))
    return made


def large_case(scratch: Path, count: int) -> Case:
    folder = write_random(scratch / "qwen", large_qwen)
    return Case("GPU, 200 tokens of prompt, 64 new", folder, random_prompts(folder, count, 200), 64, device="cuda")


def write_random(folder: Path, build: Callable[[Any], Any]) -> Path:
    """Random weights under the tokenizer of the shift log."""
    tokenizer = AutoTokenizer.from_pretrained(Shiftlog(seed=0).base_model())
    torch.manual_seed(0)
    build(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def small_llama(tokenizer: Any) -> LlamaForCausalLM:
    """1.3 million weights."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=512,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def large_qwen(tokenizer: Any) -> Qwen2ForCausalLM:
    """Of the shape of Qwen2-0.5B: 494 million weights."""
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=151936,
            hidden_size=896,
            intermediate_size=4864,
            num_hidden_layers=24,
            num_attention_heads=14,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def random_prompts(folder: Path, count: int, length: int) -> list[str]:
    """Texts of exactly `length` tokens each: beginnings of logs."""
    policy = Policy.load(folder)
    task = Shiftlog(seed=0)
    prompts: list[str] = []
    index = 0
    while len(prompts) < count:
        document = task.document(split=Split.TRAIN, level=2, index=index)
        text = policy.tokenizer.decode(policy.encode_prompt(task.prompt(document))[:length])
        index += 1
        if len(policy.encode_prompt(text)) == length:
            prompts.append(text)
    return prompts


# The bound of memory


def bandwidth(case: Case, figures: dict[str, float], console: Console) -> None:
    """Tokens a second if each step of decoding read the weights and all keys and values once, and did nothing else."""
    policy = load(case)
    config = policy.model.config
    weights = sum(parameter.numel() for parameter in policy.model.parameters())
    width = config.hidden_size // config.num_attention_heads * config.num_key_value_heads
    places = len(case.prompts) * (len(policy.encode_prompt(case.prompts[0])) + GROUP * case.new_tokens / 2)
    read = 4 * (weights + 2 * config.num_hidden_layers * width * places)
    speed = memory_speed(case.device)
    limit = case.completions * speed / read
    console.print(
        f"Memory moves {speed / 1e9:,.0f} GB/s here, so at most {limit:,.0f} tokens/s; we sample "
        f"{figures['tokens_per_second']:,.0f}, {figures['tokens_per_second'] / limit:.0%} of it."
    )


def memory_speed(device: str, *, numbers: int = 2**28, times: int = 10) -> float:
    """Bytes read and written a second while a large block is copied."""
    block = torch.ones(numbers, dtype=torch.float32, device=device)
    target = block.clone()
    clock = Clock(device)
    began = clock.now()
    for _ in range(times):
        target.copy_(block)
    return times * 2 * block.numel() * block.element_size() / (clock.now() - began)


if __name__ == "__main__":
    main()
