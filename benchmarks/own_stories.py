"""A pretrained story model, 200 comparisons by a rater of a stated taste, and an agent within ten nats.

For each seed a run of its own: openings of stories are the prompts, the rater prefers the story with more of six words
(stories about girls and their mothers) and says so where both have as many, an ensemble of reward models learns from
200 of its answers, and an agent is trained on it within a hard budget. Measured on openings that nothing else has read,
four stories each: liked words in a story, the exact KL of each story, and how surprising the stories are to the model
that was there before (nats a token), with intervals over the openings.

Run: python -m benchmarks.own_stories MODEL STORIES [--seeds 3] [--out FOLDER]
MODEL is a folder such as stories260k, STORIES a data set of short stories with a column `text`.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import torch

from agents.rollout import Rollouts, rollout
from reward_models.intervals import paired_difference
from rrm.judging.taste import liked_words
from rrm.opening import open_workbench
from rrm.progress import SilentProgress
from rrm.prompting import prompts_of
from rrm.rounds import play_round
from rrm.starting_own import OwnMaterial, start_own_run
from rrm.store import step_key, step_result
from rrm.tasks.task import Split
from rrm.workbench import Workbench

TASTE = ("she", "her", "mom", "girl", "lily", "mommy")
WORDS = 12
"""Of an opening."""
COMPLETIONS = 4
SETTINGS = (
    "run.threads=1", "judging.rater=taste", f"judging.taste={json.dumps(TASTE)}",
    "judging.judgements_per_round=200", "judging.validation_judgements=60", "judging.promotion_judgements=60",
    "sampling.train_documents=200", "sampling.validation_documents=60", "sampling.test_documents=80",
    "sampling.max_new_tokens=100", "agent.budget=10", "agent.steps=40", "agent.learning_rate=0.0003",
    "agent.beta=0.2", "agent.bf16=false",
)  # fmt: skip


def main() -> None:
    """Run all seeds and print the table, ten stories, and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("stories", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where the runs are kept; left out: nowhere")
    wanted = parser.parse_args()
    out = wanted.out or Path(tempfile.mkdtemp(prefix="own-stories-"))
    openings = _openings(wanted.stories, out)
    print(
        "seed  held-out  liked words: base  agent  gain [95%]          KL mean  most  nats a token: base  agent  won  s"
    )
    rows = []
    for seed in range(wanted.seeds):
        row, stories = _run(out / f"seed-{seed}", wanted.model, openings, seed)
        rows.append(row)
        print(
            "{seed:4d}  {held_out_accuracy:8.3f}  {base_liked:17.2f}  {agent_liked:5.2f}  {gain:.2f} [{gain_low:.2f}, "
            "{gain_high:.2f}]  {kl:14.2f}  {most_kl:4.1f}  {base_surprise:18.2f}  {agent_surprise:5.2f}  "
            "{win_rate:.2f}  {seconds:.0f}".format(**row),
            flush=True,
        )
    print("\nTen stories of the last agent:")
    for opening, text in stories[:10]:
        print(f"- {opening} | {' '.join(text.split())}")
    if wanted.out is None:
        shutil.rmtree(out)
    print(json.dumps({"benchmark": "own_stories", "rows": rows}))


def _openings(stories: Path, out: Path) -> Path:
    lines = stories.read_text(encoding="utf-8").splitlines()
    texts = dict.fromkeys(" ".join(json.loads(line)["text"].split()[:WORDS]) for line in lines)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "openings.txt"
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


def _run(folder: Path, model: str, openings: Path, seed: int) -> tuple[dict[str, float], list[tuple[str, str]]]:
    began = time.perf_counter()
    if not folder.exists():
        material = OwnMaterial(model=model, prompts=str(openings))
        start_own_run(folder, material, [*SETTINGS, f"run.seed={seed}"], progress=SilentProgress())
    with open_workbench(folder) as bench:
        play_round(bench, level=0, round=0)
        fitted, promoted = (
            step_result(bench.run, step_key(level=0, round=0, name=name)) for name in ("fit", "promote")
        )
        assert fitted is not None and promoted is not None
        before, after = (_written(bench, agent) for agent in ("base", "agent-0-0"))
        prompts = before.samples.prompts
    gain = paired_difference(_liked(after), _liked(before), generator=torch.Generator().manual_seed(seed))
    row = {
        "seed": seed,
        "held_out_accuracy": float(fitted["held_out"]["accuracy"]),  # type: ignore[index]  # a step's result is JSON
        "base_liked": float(_liked(before).mean()),
        "agent_liked": float(_liked(after).mean()),
        "gain": gain.value,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "kl": float(after.kl.sum(dim=1).mean()),
        "most_kl": float(after.kl.sum(dim=1).max()),
        "base_surprise": _surprise(before),
        "agent_surprise": _surprise(after),
        "win_rate": float(str(promoted["win_rate"])),
        "seconds": time.perf_counter() - began,
    }
    texts = after.samples.completions[::COMPLETIONS]
    return row, list(zip(prompts, texts, strict=True))


def _written(bench: Workbench, agent: str) -> Rollouts:
    found = bench.documents(split=Split.TEST, level=0, count=bench.config.sampling.test_documents)
    return rollout(
        bench.policy(agent),
        bench.base,
        prompts_of(bench, found),
        group=COMPLETIONS,
        max_new_tokens=bench.config.sampling.max_new_tokens,
        generator=bench.generator("own-stories"),
    )


def _liked(found: Rollouts) -> torch.Tensor:
    """Liked words of a story, averaged over the stories of an opening."""
    counts = [liked_words(text, TASTE) for text in found.samples.completions]
    return torch.tensor(counts, dtype=torch.float64).reshape(-1, COMPLETIONS).mean(dim=1)


def _surprise(found: Rollouts) -> float:
    """Nats a token under the base."""
    return -float(found.reference.log_probabilities.sum() / found.samples.mask.sum())


if __name__ == "__main__":
    main()
