"""The seam between a run and its reward models: what they read, how they are fitted, saved, asked and measured."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agents.rollout import rollout
from reward_models.estimate import RewardEstimate
from reward_models.fitting import FitSettings, fit
from rrm.config import RewardSection
from rrm.errors import Stopped
from rrm.opening import open_workbench
from rrm.rewards.answers import Answers
from rrm.rewards.conservative import conservative
from rrm.rewards.domains import domains_of, writers
from rrm.rewards.fitting import Fitted, Stage, fit_rewards
from rrm.rewards.held_out import answered, by_name, differences, honesty_record, thirds
from rrm.rewards.models import HeadsRewards, TextRewards, features_read, load_rewards
from rrm.rewards.questions import BLOCK, Candidates, candidates, in_order, likeness
from rrm.rewards.reading import Reading, StoredReading, put_together, read
from rrm.steps.fitting import answers_of, final_judgements
from rrm.steps.optimising import ConservativeReward
from rrm.store import Purpose, StoredComparison, comparisons
from rrm.tasks.task import Split
from rrm.workbench import Workbench

LOG3 = 1.0986122886681098
TINY = RewardSection(members=2, features=("mean_hidden",), epochs=2)


@pytest.fixture(scope="module")
def bench(finished: Path) -> Iterator[Workbench]:
    with open_workbench(finished, exclusive=False) as found:
        yield found


@pytest.fixture(scope="module")
def answers(bench: Workbench) -> Answers:
    """The training answers of level 0, with one kind of features."""
    judged = final_judgements(bench, level=0, last_round=0, purpose=Purpose.TRAIN)
    return answers_of(bench, judged, level=0, split=Split.TRAIN, names=("mean_hidden",))


def fitted(bench: Workbench, answers: Answers, folder: Path, kind: str, **watching: object) -> Fitted:
    settings = RewardSection.model_validate({**TINY.model_dump(), "kind": kind})
    return fit_rewards(
        answers,
        settings=settings,
        generator=torch.Generator().manual_seed(5),
        backbone=bench.backbone,
        chat=False,
        checkpoint=folder / "fit.safetensors",
        **watching,  # type: ignore[arg-type]
    )


def compared(*, prompt: str = "a log", document: str = "d") -> StoredComparison:
    return StoredComparison(
        "c", 0, 0, Purpose.TRAIN, document, prompt, "one", "other",
        reason="random", position=0, aids_planned=False, raters_planned=1,
    )  # fmt: skip


def test_completions_are_found_by_their_ids_after_parts_are_put_together() -> None:
    one = Reading(("p", "p"), ("a", "b"), {"f": torch.tensor([[1.0], [2.0]]), "g": torch.tensor([[5.0], [6.0]])})
    other = Reading(("q",), ("c",), {"f": torch.tensor([[3.0]]), "g": torch.tensor([[7.0]])})
    whole = put_together([StoredReading({"a": 0, "b": 1}, one), StoredReading({"c": 0}, other)])
    found = whole.of(["c", "a"])
    assert (found.prompts, found.completions, len(found)) == (("q", "p"), ("c", "a"), 2)
    assert found.joined(("g", "f")).tolist() == [[7.0, 3.0], [5.0, 1.0]]


def test_the_base_is_asked_only_for_features(bench: Workbench) -> None:
    reading = read(bench.base, ["a log"], [["one", "other"]], names=())
    assert (reading.prompts, reading.completions, dict(reading.features)) == (("a log",) * 2, ("one", "other"), {})
    assert features_read(TINY) == ("mean_hidden",)
    assert features_read(TINY.model_copy(update={"kind": "lora"})) == ()


def test_comparisons_of_a_document_are_one_group(answers: Answers) -> None:
    documents = [one.document_id for one in answers.asked]
    assert len(set(documents)) < len(documents)
    for place, one in enumerate(documents):
        same = [other == one for other in documents]
        assert (answers.groups == answers.groups[place]).tolist() == same
    part = answers.where(lambda asked: asked.document_id == documents[3])
    assert {one.document_id for one in part.asked} == {documents[3]}
    assert part.labels.tolist() == [answers.labels[place] for place, one in enumerate(documents) if one == documents[3]]


def test_heads_are_those_of_a_fit_whose_folds_divide_no_document(
    bench: Workbench, answers: Answers, tmp_path: Path
) -> None:
    found = fitted(bench, answers, tmp_path, "heads").rewards
    assert isinstance(found, HeadsRewards)
    first, second = (side.joined(("mean_hidden",)) for side in (answers.first, answers.second))
    expected = fit(
        first, second, answers.labels, feature_names=("mean_hidden",), groups=answers.groups,
        settings=FitSettings(members=2, rater_error=0.1), generator=torch.Generator().manual_seed(5),
    ).ensemble  # fmt: skip
    assert torch.equal(found.ensemble.weights, expected.weights)
    assert found.ensemble.temperature == expected.temperature


def test_answers_about_one_document_can_be_fitted_too(bench: Workbench, answers: Answers, tmp_path: Path) -> None:
    alone = replace(answers, groups=torch.zeros_like(answers.groups))
    assert fitted(bench, alone, tmp_path, "heads").comparisons == len(answers)


@pytest.mark.parametrize("kind", ["heads", "lora", "full"])
def test_what_is_saved_is_read_back_and_scores_the_same(
    bench: Workbench, answers: Answers, tmp_path: Path, kind: str
) -> None:
    made = fitted(bench, answers, tmp_path, kind)
    made.rewards.save(tmp_path / "model")
    again = load_rewards(tmp_path / "model", backbone=bench.backbone, chat=False)
    assert again.members == made.rewards.members == 2
    assert again.reads == made.rewards.reads == (("mean_hidden",) if kind == "heads" else ())
    assert torch.allclose(again.scores(answers.first), made.rewards.scores(answers.first), atol=1e-6)
    assert made.comparisons == len(answers)
    assert 0 < made.unseen.answers <= len(answers)
    # Members differ, and none knows where this machine keeps its models.
    assert float((made.rewards.scores(answers.first)[0] - made.rewards.scores(answers.first)[1]).abs().max()) > 0.0
    assert str(Path(bench.task.base_model()).parent) not in (tmp_path / "model" / "config.json").read_text()


@pytest.mark.parametrize("kind", ["heads", "lora"])
def test_what_an_agent_wrote_scores_as_if_it_were_read(
    bench: Workbench, answers: Answers, tmp_path: Path, kind: str
) -> None:
    rewards = fitted(bench, answers, tmp_path, kind).rewards
    prompts = list(dict.fromkeys(answers.first.prompts))[:2]
    generator = torch.Generator().manual_seed(0)
    written = rollout(bench.base.copy(), bench.base, prompts, group=3, max_new_tokens=40, generator=generator)
    ended = written.samples.mask.sum(dim=1) < 40
    texts = [written.samples.completions[begin : begin + 3] for begin in (0, 3)]
    reading = read(bench.base, prompts, texts, names=rewards.reads)
    # A text can have other tokens than those it was sampled by; most have not.
    apart = (rewards.scores_of_rollouts(written) - rewards.scores(reading)).abs().amax(dim=0)
    assert int((apart[ended] < 1e-4).sum()) >= (int(ended.sum()) if kind == "lora" else 1)
    paid = ConservativeReward(rewards, TINY)
    reward = paid(written)
    estimate = RewardEstimate(rewards.scores_of_rollouts(written))
    assert torch.equal(reward, conservative(estimate, TINY))
    of_documents = [reward[:3].std(correction=0), reward[3:].std(correction=0)]
    assert paid.last.reward_spread == pytest.approx(float(sum(of_documents)) / 2, rel=1e-5)
    assert paid.last.member_spread == pytest.approx(float(estimate.spread.mean()), rel=1e-5)


def test_a_fit_by_gradient_goes_on_where_it_was_stopped(bench: Workbench, answers: Answers, tmp_path: Path) -> None:
    seen: list[Stage] = []

    def stop_in_the_second_pass(stage: Stage) -> None:
        seen.append(stage)
        if stage.total is not None and stage.done == stage.total - 1:
            raise Stopped("enough")

    whole = fitted(bench, answers, tmp_path / "whole", "lora")
    with pytest.raises(Stopped):
        fitted(bench, answers, tmp_path / "stopped", "lora", watch=stop_in_the_second_pass)
    stopped_at, seen = seen[-1].done, []
    resumed = fitted(bench, answers, tmp_path / "stopped", "lora", watch=lambda stage: seen.append(stage))
    assert 1 < seen[0].done <= stopped_at
    assert torch.equal(resumed.rewards.scores(answers.first), whole.rewards.scores(answers.first))
    # A kill after the last step costs nothing.
    seen = []
    again = fitted(bench, answers, tmp_path / "stopped", "lora", watch=lambda stage: seen.append(stage))
    assert seen == []
    assert torch.equal(again.rewards.scores(answers.first), whole.rewards.scores(answers.first))


@pytest.mark.parametrize(
    ("name", "expected"), [("mean", 2.0), ("min", 1.0), ("lower", 1.5), ("uwo", 1.5), ("entropic", 1.7598)]
)
def test_the_reward_of_two_members_that_say_1_and_3(name: str, expected: float) -> None:
    """Mean 2, deviation 1, variance 1; entropic with b = 2: -2 log((e^-0.5 + e^-1.5) / 2) = 1.7597."""
    settings = RewardSection.model_validate({"conservative": name, "coefficient": 2.0 if name == "entropic" else 0.5})
    found = conservative(RewardEstimate(torch.tensor([[1.0], [3.0]])), settings)
    assert float(found) == pytest.approx(expected, abs=1e-4)


def test_figures_of_answers_by_hand() -> None:
    """Two members give 0.75 and 0.75 to one comparison, 0.75 and 0.25 to another.

    The first is right: 1, log loss -log 0.75 = 0.28768, no spread, nothing to learn. On the second the mean is
    undecided: 1/2, log 2, a deviation of 0.25, and log 2 - H(0.25) = 0.69315 - 0.56234 = 0.13081 nats.
    """
    members = torch.tensor([[LOG3, LOG3], [LOG3, -LOG3]], dtype=torch.float64)
    labels, groups = torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([0, 1])
    found = answered("both", members, labels, groups)
    assert (found.name, found.comparisons, found.accuracy) == ("both", 2, 0.75)
    assert found.loss == pytest.approx((0.287682 + 0.693147) / 2, abs=1e-6)
    assert found.spread == pytest.approx(0.125)
    assert found.information == pytest.approx(0.130812 / 2, abs=1e-6)
    assert found.low < 0.75 < found.high


def test_thirds_go_from_agreement_to_disagreement() -> None:
    sure = torch.tensor([3.0, 0.0, 5.0, 1.0, 4.0, 2.0, 6.0], dtype=torch.float64)
    members, labels, groups = torch.stack([sure, -sure]), torch.ones(7, dtype=torch.float64), torch.arange(7)
    found = thirds(members, labels, groups)
    assert [(one.name, one.comparisons) for one in found] == [("least", 3), ("middle", 2), ("most", 2)]
    half = torch.sigmoid(sure.sort().values) - 0.5
    assert [one.spread for one in found] == pytest.approx([float(part.mean()) for part in half.tensor_split(3)])
    assert thirds(members[:, :2], labels[:2], groups[:2]) == []
    assert thirds(torch.stack([sure, sure]), labels, groups) == []


def test_names_gather_answers(answers: Answers) -> None:
    members = torch.ones(2, len(answers), dtype=torch.float64)
    names = ["spread" if place % 3 else "random" for place in range(len(answers))]
    found = by_name(members, answers, names)
    assert [(one.name, one.comparisons) for one in found] == [
        (name, names.count(name)) for name in ("random", "spread")
    ]
    # Every first is preferred, so agreement is the mean label.
    assert found[0].accuracy == pytest.approx(float(answers.labels[::3].mean()))


def test_the_record_of_honesty_names_the_worst_domain(bench: Workbench, answers: Answers, tmp_path: Path) -> None:
    members = differences(fitted(bench, answers, tmp_path, "heads").rewards, answers)
    domains = ["even" if place % 2 else "odd" for place in range(len(answers))]
    found = honesty_record(members, answers, domains=domains)
    parts = found["domains"]
    assert isinstance(parts, tuple) and {part["name"] for part in parts} == {"even", "odd"}
    assert parts[0]["accuracy"] <= parts[1]["accuracy"] and found["worst_domain"] == parts[0]["name"]
    assert found["members"] == 2 and len(found["thirds"]) == 3  # type: ignore[arg-type]


def test_domains_are_writers_or_lengths(bench: Workbench) -> None:
    held_out, promotion = (
        comparisons(bench.run, level=0, purpose=one) for one in (Purpose.VALIDATION, Purpose.PROMOTION)
    )
    assert set(writers(bench.run, promotion)) == {"agent-0-0 and base"}
    found = domains_of(bench.run, [*held_out, *promotion])
    assert set(found) == {"written by base", "written by agent-0-0 and base"}
    assert found.count("written by base") == len(held_out)
    # All of one hand: thirds of 1 to 9 words are cut above 3 2/3 and 6 1/3.
    same = [replace(held_out[0], prompt=" ".join(["word"] * count)) for count in range(1, 10)]
    short, middle, long = "shorter documents", "documents of middle length", "longer documents"
    assert domains_of(bench.run, same) == [short] * 3 + [middle] * 3 + [long] * 3
    assert set(domains_of(bench.run, same[:1] * 4)) == {"all documents"}


def drawn_candidates(count: int) -> Candidates:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(3, count, generator=generator)
    return Candidates(scores, torch.zeros(3, count), torch.randn(count, 4, generator=generator))


@pytest.mark.parametrize("acquisition", ["random", "spread", "bald", "double_thompson"])
def test_every_block_of_questions_has_its_random_share(acquisition: str) -> None:
    settings = RewardSection.model_validate({"acquisition": acquisition, "random_share": 0.1, "diversity": 0.5})
    order = in_order(drawn_candidates(50), settings=settings, generator=torch.Generator().manual_seed(0))
    assert sorted(one.index for one in order) == list(range(50))
    for begin in (0, BLOCK, 2 * BLOCK):
        block = [str(one.reason) for one in order[begin : begin + BLOCK]]
        assert block.count("random") == (len(block) if acquisition == "random" else len(block) // 10)
        assert set(block) <= {"random", acquisition}


def test_what_members_disagree_about_comes_first() -> None:
    found, settings = drawn_candidates(60), RewardSection(acquisition="spread")
    order = in_order(found, settings=settings, generator=torch.Generator().manual_seed(0))
    spread = torch.sigmoid(found.scores_first).std(dim=0, correction=0)
    at_random = {one.index for one in order[:BLOCK] if one.reason == "random"}
    wanted = sorted((place for place in range(60) if place not in at_random), key=lambda place: -float(spread[place]))
    assert {one.index for one in order[:BLOCK]} - at_random == set(wanted[:16])
    assert in_order(found.at([]), settings=settings, generator=torch.Generator()) == []


def test_likeness_is_read_only_where_it_matters(bench: Workbench, answers: Answers, tmp_path: Path) -> None:
    rewards = fitted(bench, answers, tmp_path, "heads").rewards
    plain, varied = TINY, TINY.model_copy(update={"diversity": 1.0, "kind": "lora"})
    assert (likeness(plain), likeness(varied)) == ((), ("mean_hidden",))
    assert candidates(rewards, answers.first, answers.second, settings=plain).features is None
    found = candidates(rewards, answers.first, answers.second, settings=varied).features
    assert found is not None
    expected = answers.first.features["mean_hidden"] - answers.second.features["mean_hidden"]
    assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_members_of_a_chat_model_read_its_template(
    bench: Workbench, answers: Answers, tmp_path: Path, kind: str
) -> None:
    """The tokens are those of the template, in the fit and in every score; joined texts would be other ones."""
    trunk = bench.backbone()
    trunk.tokenizer.chat_template = (
        "{% for each in messages %}{{ each['role'] }}: {{ each['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    settings = RewardSection.model_validate({**TINY.model_dump(), "kind": kind})
    made, plain = (
        fit_rewards(
            answers,
            settings=settings,
            generator=torch.Generator().manual_seed(5),
            backbone=lambda: trunk,
            chat=chat,
            checkpoint=tmp_path / f"{chat}.safetensors",
        ).rewards
        for chat in (True, False)
    )
    reading = answers.first.rows([0, 1])
    found = made.scores(reading)
    texts = [
        f"user: {one}\nassistant: {other}\n" for one, other in zip(reading.prompts, reading.completions, strict=True)
    ]
    assert isinstance(made, TextRewards)
    assert torch.allclose(found, made.model.scores(["", ""], texts), atol=1e-5)
    assert float((found - plain.scores(reading)).abs().min()) > 1e-3
    made.save(tmp_path / "model")
    again = load_rewards(tmp_path / "model", backbone=lambda: trunk, chat=True)
    assert torch.allclose(again.scores(reading), found, atol=1e-5)
