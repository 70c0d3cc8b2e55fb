"""How fast ensembles train and score, beside TRL's RewardTrainer on the same backbone, tokens and epochs.

Five members here against five TRL runs. The same pairs, already tokenised, go to both; batch size, epochs, single
precision, one thread, no dropout and the rate of adapters are common, and on TRL's side checkpointing, clipping,
evaluation, logging to services and saving are off. What is timed is training alone: not imports, not loading, not
tokenising; and it is the processor time of this one thread, so that other work on the machine does not count. Held-out
accuracy stands beside every time, so that no speed is bought with it.

    heads        one pass for the features, then `reward_models.fit` with everything it does (strength, temperature)
    adapters     `fit_lora`: five adapters with heads in one pass, with the pass that centres them
    trl          RewardTrainer as it comes: all weights are trained
    trl lora     RewardTrainer with peft on the same layers, of the same rank and scale
    trl head     RewardTrainer with the trunk frozen, so that it trains what our heads train: the strictest comparison

Repetitions are interleaved, one run of each a repetition, each with a seed of its own; five TRL runs are five times its
median run. Accuracy is that of the mean score: of the five members, averaged over repetitions, and of TRL's runs, of
which there is one a repetition. Two backbones: the small pretrained one of the shared data, where a trainer's own
overhead shows, and one of random weights with fourteen times as many, where it does not. The last line holds the less
favourable of the two.

    RRM_SHARED_DATA=../shared/data python -m benchmarks.reward_speed [--quick]

TRL comes with the extra `bench`; the pairs and the small backbone lie in RRM_SHARED_DATA.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

# Before any of the libraries is imported: no telemetry, no look at the Hub.
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")

import datasets
import torch
import transformers
from jaxtyping import Float, Int
from peft import LoraConfig
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM

from benchmarks.human_preferences import human_comparisons, shared_data
from reward_models import FitSettings, fit
from reward_models.backbone import Backbone, Encoded
from reward_models.fit_plan import GradientSettings
from reward_models.heads_model import HeadsModel
from reward_models.lora_model import LoraMembers, LoraModel, fit_lora
from reward_models.pairs import EncodedPairs
from reward_models.stacked_adapters import AdapterSettings, adapted_names

MEMBERS = 5
SCORED = 64
"""Texts whose scoring is timed."""
LONGEST = 96
"""Tokens; pairs with a longer side are left out, because TRL drops them."""


@dataclass(frozen=True, eq=False)
class Data:
    """Pairs whose first side is the better one, as texts and tokens."""

    texts: tuple[list[str], list[str]]
    first: Encoded
    second: Encoded
    topics: Int[Tensor, " comparisons"]

    def __len__(self) -> int:
        return len(self.first)

    def for_trl(self) -> datasets.Dataset:
        sides = {"chosen_ids": self.first.tokens, "rejected_ids": self.second.tokens}
        return datasets.Dataset.from_dict({name: [list(row) for row in rows] for name, rows in sides.items()})

    def for_us(self) -> EncodedPairs:
        ones = torch.ones(len(self), dtype=torch.float64)
        return EncodedPairs(self.first, self.second, labels=ones, weights=ones)


@dataclass(frozen=True)
class Setting:
    """What both sides share."""

    epochs: int
    batch_size: int
    rank: int
    alpha: int
    rate: float
    """Of adapters and heads."""
    full_rate: float
    """Of whole models."""


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    setting = Setting(epochs=options.epochs, batch_size=16, rank=8, alpha=16, rate=1e-3, full_rate=3e-4)
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        folders = {"stories260k": shared_data() / "models" / "stories260k"}
        folders["random, 3.6M"] = write_random_llama(Path(scratch) / "llama", folders["stories260k"])
        for name, folder in folders.items():
            found[name] = compare(name, folder, Path(scratch), setting, options)
    ratios = ("heads_vs_trl", "lora_vs_trl", "heads_vs_trl_head")
    worst = {
        key: (min if key in ratios else max)(one[key] for one in found.values()) for key in next(iter(found.values()))
    }
    print(json.dumps({key: round(value, 3) for key, value in worst.items()} | {"by_backbone": found}))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Training and scoring speed beside TRL's RewardTrainer.")
    parser.add_argument("--pairs", type=int, default=320, help="training pairs, and at most as many held-out ones")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="64 pairs, one epoch, one repetition")
    options = parser.parse_args()
    if options.quick:
        options.pairs, options.epochs, options.repetitions = 64, 1, 1
    return options


def compare(name: str, folder: Path, scratch: Path, setting: Setting, options: argparse.Namespace) -> dict[str, float]:
    """All sides on one backbone: seconds and held-out accuracy of each, then the ratios."""
    backbone = Backbone.load(folder, max_length=LONGEST)
    train, test = pairs(backbone, options.pairs)
    seconds: dict[str, list[float]] = defaultdict(list)
    scores: dict[str, list[Tensor]] = defaultdict(list)
    for seed in range(options.repetitions):
        scores["heads"].append(timed(seconds["heads"], partial(our_heads, backbone, train, seed))(test))
        fitted = timed(seconds["adapters"], partial(our_adapters, backbone, train, setting, seed))
        scores["adapters"].append(fitted(test))
        for side in ("trl", "trl lora", "trl head"):
            trainer = trl_trainer(side, folder, scratch, train, setting, seed)
            timed(seconds[side], trainer.train)
            scores[side].append(trl_differences(trainer, backbone, test))
    accuracy = {side: accuracy_of(found, joined=side.startswith("trl")) for side, found in scores.items()}
    cost = scoring_seconds(backbone, test, repetitions=5 * options.repetitions)
    figures = ratios(seconds, cost)
    show(name, seconds, accuracy, cost, figures)
    return figures


def timed(record: list[float], work: Callable[[], Any]) -> Any:
    started = time.process_time()
    result = work()
    record.append(time.process_time() - started)
    return result


def ratios(seconds: dict[str, list[float]], cost: dict[str, list[float]]) -> dict[str, float]:
    median = {side: statistics.median(times) for side, times in seconds.items()}
    # Of one repetition, because the machine's own speed changes from one to the next.
    paired = {
        (five, one): statistics.median(a / b for a, b in zip(cost[five], cost[one], strict=True))
        for five, one in (("5 heads", "1 head"), ("5 adapters", "1 adapter"))
    }
    return {
        "heads_vs_trl": MEMBERS * median["trl"] / median["heads"],
        "lora_vs_trl": MEMBERS * median["trl lora"] / median["adapters"],
        "score_heads_5_vs_1": paired["5 heads", "1 head"],
        "score_lora_5_vs_1": paired["5 adapters", "1 adapter"],
        "heads_vs_trl_head": MEMBERS * median["trl head"] / median["heads"],
    }


# Ours


def our_heads(backbone: Backbone, data: Data, seed: int) -> Callable[[Data], Tensor]:
    """Features once, then the heads; returns what scores held-out pairs."""
    first, second = (backbone.pooled(side, pooling="last") for side in (data.first, data.second))
    generator = torch.Generator().manual_seed(seed)
    # Labels of both kinds: which side stands first means nothing.
    turned = torch.arange(len(data)) % 2 == 1
    left, right = torch.where(turned[:, None], second, first), torch.where(turned[:, None], first, second)
    found = fit(
        left,
        right,
        (~turned).double(),
        feature_names=(),
        settings=FitSettings(members=MEMBERS),
        generator=generator,
        groups=data.topics,
    )
    ensemble = found.ensemble

    def differences(test: Data) -> Float[Tensor, "members comparisons"]:
        sides = [ensemble.scores(backbone.pooled(side, pooling="last")) for side in (test.first, test.second)]
        return sides[0] - sides[1]

    return differences


def our_adapters(backbone: Backbone, data: Data, setting: Setting, seed: int) -> Callable[[Data], Tensor]:
    settings = GradientSettings(
        epochs=setting.epochs, batch_size=setting.batch_size, learning_rate=setting.rate, held_out_share=0.0
    )
    adapters = AdapterSettings(members=MEMBERS, rank=setting.rank, alpha=setting.alpha)
    generator = torch.Generator().manual_seed(seed)
    model = fit_lora(backbone, data.for_us(), adapters=adapters, settings=settings, generator=generator).model

    def differences(test: Data) -> Float[Tensor, "members comparisons"]:
        sides = [model.scores([""] * len(test), texts) for texts in test.texts]
        return sides[0] - sides[1]

    return differences


# Theirs


def trl_trainer(side: str, folder: Path, scratch: Path, data: Data, setting: Setting, seed: int) -> Any:
    try:
        from trl import RewardConfig, RewardTrainer
    except ImportError as error:
        raise SystemExit(f"TRL is not there ({error}); install the extra `bench`") from error
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype="float32")
    backbone = Backbone.load(folder, max_length=LONGEST)
    if side == "trl head":
        model.base_model.requires_grad_(False)
    peft_config = None
    if side == "trl lora":
        names = [f"{model.base_model_prefix}.{name}" for name in adapted_names(backbone.model)]
        peft_config = LoraConfig(
            task_type="SEQ_CLS",
            r=setting.rank,
            lora_alpha=setting.alpha,
            target_modules=names,
            modules_to_save=["score"],
        )
    config = RewardConfig(
        output_dir=str(scratch / "trl"),
        num_train_epochs=setting.epochs,
        per_device_train_batch_size=setting.batch_size,
        learning_rate=setting.full_rate if side == "trl" else setting.rate,
        seed=seed,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        max_grad_norm=0.0,
        center_rewards_coefficient=0.01,
        max_length=None,
        dataloader_num_workers=0,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = RewardTrainer(
        model=model,
        args=config,
        train_dataset=data.for_trl(),
        processing_class=backbone.tokenizer,
        peft_config=peft_config,
    )
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


@torch.no_grad()
def trl_differences(trainer: Any, backbone: Backbone, test: Data) -> Float[Tensor, "1 comparisons"]:
    model = trainer.model.eval()
    sides = []
    for side in (test.first, test.second):
        rows = backbone.tokenizer.pad({"input_ids": [list(row) for row in side.tokens]}, return_tensors="pt")
        sides.append(torch.cat([model(**part).logits[:, 0] for part in chunks(rows)]))
    return (sides[0] - sides[1])[None]


def chunks(rows: Any) -> Iterator[dict[str, Tensor]]:
    for start in range(0, len(rows["input_ids"]), 32):
        yield {name: rows[name][start : start + 32] for name in ("input_ids", "attention_mask")}


# Data and backbones


def pairs(backbone: Backbone, count: int) -> tuple[Data, Data]:
    """Pairs of arguments that four fifths of the raters agree about; training and held-out pairs share no topic."""
    every = [one for one in human_comparisons("ukpconvarg1") if not 0.2 < one.label < 0.8]
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(0)).tolist()
    topics = sorted({one.group for one in every})
    held_out = set(topics[::2])
    sides: tuple[list[Any], list[Any]] = ([], [])
    for one in (every[place] for place in order):
        tokens = backbone.encode(["", ""], [one.first, one.second])
        wanted = sides[one.group in held_out]
        if tokens.cut == 0 and len(wanted) < count:
            better_first = (one.first, one.second) if one.label > 0.5 else (one.second, one.first)
            wanted.append((*better_first, topics.index(one.group)))
    made = []
    for chosen in sides:
        texts = ([first for first, _, _ in chosen], [second for _, second, _ in chosen])
        encoded = [backbone.encode([""] * len(side), side) for side in texts]
        made.append(Data(texts, *encoded, topics=torch.tensor([topic for _, _, topic in chosen])))
    return made[0], made[1]


def write_random_llama(folder: Path, tokenizer_from: Path) -> Path:
    """Eight layers of 192: enough arithmetic that a trainer's overhead is small beside it."""
    tokenizer = Backbone.load(tokenizer_from, max_length=LONGEST).tokenizer
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=8,
        num_attention_heads=6,
        max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# Scoring


def scoring_seconds(backbone: Backbone, data: Data, *, repetitions: int) -> dict[str, list[float]]:
    """Seconds to score some first sides from text, all models in each repetition, in turning order."""
    models = {"1 head": heads_of(backbone, data, 1), "5 heads": heads_of(backbone, data, MEMBERS)}
    models |= {"1 adapter": adapters_of(backbone, 1), "5 adapters": adapters_of(backbone, MEMBERS)}
    seconds: dict[str, list[float]] = defaultdict(list)
    texts = data.texts[0][:SCORED]
    for repetition in range(repetitions):
        for name, model in list(models.items())[:: 1 if repetition % 2 else -1]:
            timed(seconds[name], partial(model.scores, [""] * len(texts), texts))
    return {name: seconds[name] for name in models}


def heads_of(backbone: Backbone, data: Data, members: int) -> HeadsModel:
    first, second = (backbone.pooled(side, pooling="last") for side in (data.first, data.second))
    settings = FitSettings(members=members, l2_grid=(10.0,))
    labels, generator = torch.ones(len(data), dtype=torch.float64), torch.Generator().manual_seed(0)
    found = fit(first, second, labels, feature_names=(), settings=settings, generator=generator)
    return HeadsModel(backbone, found.ensemble)


def adapters_of(backbone: Backbone, members: int) -> LoraModel:
    generator = torch.Generator().manual_seed(0)
    trained = LoraMembers.start(backbone, settings=AdapterSettings(members=members), generator=generator)
    return LoraModel(trained, torch.zeros(members), 1.0)


# Report


def accuracy_of(differences: list[Tensor], *, joined: bool) -> float:
    """Of the members' mean: TRL's runs are the members of one ensemble, ours are an ensemble each run."""
    ensembles = [torch.cat(differences)] if joined else differences
    return statistics.mean(float((members.mean(dim=0) > 0.0).double().mean()) for members in ensembles)


def show(
    name: str,
    seconds: dict[str, list[float]],
    accuracy: dict[str, float],
    cost: dict[str, list[float]],
    figures: dict[str, float],
) -> None:
    labels = {"heads": "5 heads", "adapters": "5 adapters", "trl": "trl, one run", "trl lora": "trl lora, one run"}
    table = Table("side", "seconds (median)", "all runs", "held-out accuracy", title=f"Training, {name}")
    for side, times in seconds.items():
        runs = " ".join(f"{one:.2f}" for one in times)
        table.add_row(
            labels.get(side, f"{side}, one run"), f"{statistics.median(times):.2f}", runs, f"{accuracy[side]:.3f}"
        )
    console = Console()
    console.print(table)
    scoring = Table("model", "seconds (median)", title=f"Scoring {SCORED} held-out texts, {name}")
    for side, times in cost.items():
        scoring.add_row(side, f"{statistics.median(times):.3f}")
    console.print(scoring)
    console.print({key: round(value, 2) for key, value in figures.items()})


if __name__ == "__main__":
    main()
