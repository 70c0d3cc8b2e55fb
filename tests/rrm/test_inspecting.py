"""What each token of an agent cost: against an independent pass, by hand, and never a change of the run."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from math import exp
from pathlib import Path
from sqlite3 import connect

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.hard_budget import HardBudget
from agents.policy import Policy
from agents.rollout import sample
from reward_models.errors import InvalidInput
from rrm.errors import RunCorrupt, RunError, RunMissing
from rrm.inspecting import inspect_agent, pieces, store_transcripts, transcripts
from rrm.opening import open_workbench
from rrm.run_folder import open_run_folder
from rrm.starting import start_run
from rrm.store.verify import verify
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.task import Split
from rrm.transcript_page import alternatives, marked, page, token_rows
from rrm.transcripts import (
    Alternative,
    Token,
    Transcript,
    in_words,
    newest_agents,
    percent,
    stored_transcripts,
    transcripts_file,
    visible,
)
from rrm.workbench import Workbench

HOSTILE = '<img src=x onerror="alert(1)"> [bold red]x[/] \x1b[31m \u202eabc'


@pytest.fixture(scope="module")
def bench(finished: Path) -> Iterator[Workbench]:
    with open_workbench(finished, exclusive=False) as found:
        yield found


def token(kl: float, piece: str = "x", **more: object) -> Token:
    return replace(Token(piece, piece or "<end>", kl, -0.5, -2.0, 0.25), **more)  # type: ignore[arg-type]


def made(*costs: float, budget: float | None = None) -> Transcript:
    return Transcript("agent-0-0", "log", "x" * len(costs), tuple(token(cost) for cost in costs), budget)


def prompts_of(bench: Workbench, count: int) -> list[str]:
    found = bench.documents(split=Split.TRAIN, level=0, count=count)
    return [bench.task.prompt(document) for document in found]


def test_the_sums_of_a_transcript_by_hand() -> None:
    # Twelve tokens: a tenth of them, rounded up, is two, and they took (3 + 1) of 5 nats.
    found = made(0.0, 3.0, *[0.1] * 5, 1.0, *[0.1] * 3, 0.2, budget=8.0)
    assert found.total == pytest.approx(5.0)
    assert found.costliest == (1, 7)
    assert found.share_of_costliest == pytest.approx(0.8)
    assert found.running[:3] == pytest.approx((0.0, 3.0, 3.1)) and found.running[-1] == pytest.approx(5.0)
    assert found.entropy == 0.25
    assert in_words(found) == (
        "5.00 nats of a budget of 8 over 12 tokens; the 2 costliest took 80% of it; mean entropy 0.25 nats."
    )
    assert in_words(made(0.5)) == "0.50 nats over 1 token; mean entropy 0.25 nats."
    assert made(0.0, 0.0).share_of_costliest is None and alternatives(made(0.0)) == []


def test_shades_begin_at_their_limits() -> None:
    costs = (0.0, 0.0199, 0.02, 0.1, 0.3, 0.99, 1.0, 40.0)
    assert [one.shade for one in made(*costs).tokens] == [0, 0, 1, 2, 3, 3, 4, 4]


def test_probabilities_as_people_read_them() -> None:
    assert [percent(share) for share in (1.0, 0.99, 0.5, 0.0731, 0.00012, 1e-9)] == [
        "100.0%", "99.0%", "50%", "7.3%", "0.012%", "<0.001%",
    ]  # fmt: skip


def test_every_token_against_a_plain_pass_of_both_models(bench: Workbench) -> None:
    agent, prompts = bench.policy("agent-0-0"), prompts_of(bench, 2)
    found = transcripts(bench, "agent-0-0", prompts, samples=2)
    assert [one.prompt for one in found] == [prompts[0], prompts[0], prompts[1], prompts[1]]
    for number, prompt in enumerate(prompts):
        drawn = sample(
            agent, [prompt], group=2, max_new_tokens=bench.config.sampling.max_new_tokens,
            generator=bench.generator("inspect", "agent-0-0", number),
        )  # fmt: skip
        for row in range(2):
            one, chosen = found[2 * number + row], drawn.tokens[row][drawn.mask[row]].tolist()
            policy, base = (plain(model, prompt, chosen) for model in (agent, bench.base))
            kl = (policy.exp() * (policy - base)).sum(dim=1)
            entropy = -(policy.exp() * policy).sum(dim=1)
            assert [each.kl for each in one.tokens] == pytest.approx(kl.tolist(), abs=1e-4)
            assert [each.entropy for each in one.tokens] == pytest.approx(entropy.tolist(), abs=1e-4)
            for place, (each, name) in enumerate(zip(one.tokens, chosen, strict=True)):
                assert each.log_probability == pytest.approx(float(policy[place, name]), abs=1e-4)
                assert each.base_log_probability == pytest.approx(float(base[place, name]), abs=1e-4)
            assert one.text == drawn.completions[row] == "".join(each.piece for each in one.tokens)
            dearest = one.costliest[0]
            likeliest = int(policy[dearest].argmax())
            first = one.tokens[dearest].alternatives[0]
            assert first.name == bench.base.tokenizer.decode([likeliest])
            assert first.probability == pytest.approx(float(policy[dearest].max().exp()), abs=1e-4)
            assert first.base_probability == pytest.approx(float(base[dearest, likeliest].exp()), abs=1e-4)


def plain(policy: Policy, prompt: str, chosen: list[int]) -> torch.Tensor:
    """Log-probabilities of the next token before each chosen one, from one pass without any cache."""
    read = policy.encode_prompt(prompt)
    with torch.no_grad(), policy.active() as model:
        logits = model(torch.tensor([read + chosen])).logits[0]
    return torch.log_softmax(logits[len(read) - 1 : -1].double(), dim=-1)


def test_the_base_is_no_nat_away_from_itself(bench: Workbench) -> None:
    found = transcripts(bench, "base", prompts_of(bench, 1))[0]
    assert 0.0 <= found.total < 1e-4
    assert found.share_of_costliest is None and found.budget is None


@pytest.mark.parametrize("text", ["#1 fire\n", "naïve – 火事 🚒 ok", "", "e\u0301\u200d", "\ufffd and 🚒"])
def test_pieces_join_to_the_text_and_hold_whole_characters(text: str, bench: Workbench) -> None:
    tokens = bench.base.encode_completion(text)
    found = pieces(bench.base, tokens)
    assert len(found) == len(tokens) and found[-1] == ""
    assert "".join(found) == text
    # A character of several bytes stands whole where its last byte is.
    assert "\ufffd" in text or all("\ufffd" not in piece for piece in found)


@given(tokens=st.lists(st.integers(0, 299), max_size=12))
def test_pieces_of_any_tokens_join_to_what_they_decode_to(tokens: list[int], bench: Workbench) -> None:
    # Among the first are all bytes, so most draws are no valid text.
    found = pieces(bench.base, tokens)
    assert (len(found), "".join(found)) == (len(tokens), bench.base.decode(tokens))


def test_within_a_hard_budget_every_token_costs_what_the_mixture_that_acts_does(bench: Workbench) -> None:
    budget, agent, prompts = 0.02, bench.policy("agent-0-0"), prompts_of(bench, 4)
    limited = replace(bench, config=bench.config.model_copy(
        update={"agent": bench.config.agent.model_copy(update={"budget": budget})}
    ))  # fmt: skip
    policy = agent.within(HardBudget(budget), bench.base)
    try:
        store_transcripts(limited, "agent-9-9", policy, prompts)
        kept = stored_transcripts(bench.run, "agent-9-9")
    finally:
        transcripts_file(bench.run, "agent-9-9").unlink()
    spared = 0.0
    for number, (one, prompt) in enumerate(zip(kept, prompts, strict=True)):
        assert one.budget == budget and 0 < one.running[-1] <= budget
        drawn = sample(
            policy, [prompt], group=1, max_new_tokens=bench.config.sampling.max_new_tokens,
            generator=bench.generator("inspect", "agent-9-9", number),
        )  # fmt: skip
        chosen, left = drawn.tokens[0][drawn.mask[0]].tolist(), budget
        wants, base = (plain(model, prompt, chosen).exp() for model in (agent, bench.base))
        for place, (each, name) in enumerate(zip(one.tokens, chosen, strict=True)):
            acting, cost = within(wants[place], base[place], left)
            assert each.kl == pytest.approx(cost, abs=1e-4)
            assert each.log_probability == pytest.approx(float(acting[name].log()), abs=1e-2)
            left, spared = left - cost, spared + nats(wants[place], base[place]) - cost
    assert spared > 0.01, "the agent must want more than it may"


def within(wanted: torch.Tensor, base: torch.Tensor, left: float) -> tuple[torch.Tensor, float]:
    """The mixture with the most of `wanted` that costs no more than what is left, by bisection; and what it costs."""
    low, high = 0.0, 1.0
    if nats(wanted, base) > left:
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if nats(torch.lerp(base, wanted, middle), base) <= left else (low, middle)
        wanted = torch.lerp(base, wanted, low)
    return wanted, nats(wanted, base)


def nats(one: torch.Tensor, base: torch.Tensor) -> float:
    return float((one * (one / base).log()).sum())


def test_what_is_kept_is_read_back_and_is_the_same_when_made_again(copied: Path) -> None:
    with open_workbench(copied) as bench:
        policy, prompts = bench.policy("agent-0-0"), prompts_of(bench, 2)
        store_transcripts(bench, "agent-0-0", policy, prompts)
        path = transcripts_file(bench.run, "agent-0-0")
        written = path.read_bytes()
        store_transcripts(bench, "agent-0-0", policy, prompts)
        assert path.read_bytes() == written
        kept = stored_transcripts(bench.run, "agent-0-0")
        assert kept == transcripts(bench, "agent-0-0", prompts)
        assert json.loads(written)[0]["total"] == pytest.approx(kept[0].total)
        assert list(bench.run.models.glob(".*")) == []
        assert {level: one.id for level, one in newest_agents(bench.run).items()} == {0: "agent-0-0", 1: "agent-1-0"}
        assert stored_transcripts(bench.run, "agent-7-7") == ()
        path.write_bytes(written[:-9])
        with pytest.raises(RunCorrupt, match="agent-0-0"):
            stored_transcripts(bench.run, "agent-0-0")
    # What lies beside an agent is no part of it.
    assert verify(copied) == []


def test_inspecting_changes_nothing_and_says_the_same_twice(copied: Path) -> None:
    before = state_of(copied)
    found = inspect_agent(copied, samples=2)
    assert [one.agent for one in found] == ["agent-1-0"] * 2
    assert found == inspect_agent(copied, samples=2)
    assert inspect_agent(copied, agent="agent-0-0", prompt="#1 fire")[0].prompt == "#1 fire"
    task = Shiftlog(seed=0)
    for options, level, index in (({}, 1, 0), ({"level": 0}, 0, 0), ({"agent": "agent-0-0", "document": 3}, 0, 3)):
        asked = task.prompt(task.document(split=Split.VALIDATION, level=level, index=index))
        assert inspect_agent(copied, **options)[0].prompt == asked  # type: ignore[arg-type]
    assert inspect_agent(copied, level=0)[0].agent == "agent-0-0"
    assert state_of(copied) == before


def state_of(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Digests of the files of a run, and all that its database holds."""
    found = {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("run.db")
    }
    with closing(connect(folder / "run.db")) as connection:
        return found, list(connection.iterdump())


def test_what_cannot_be_inspected_is_refused_in_a_sentence(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no agent 'x' in this run; it has agent-0-0, agent-1-0, base"):
        inspect_agent(finished, agent="x")
    for wrong, said in (({"samples": 0}, "samples"), ({"document": -1}, "counted from 0"), ({"level": 9}, "level")):
        with pytest.raises((InvalidInput, RunError), match=said):
            inspect_agent(finished, agent="base", **wrong)  # type: ignore[arg-type]
    with pytest.raises(RunError, match="at level 7 yet"):
        inspect_agent(finished, level=7)
    with pytest.raises(RunMissing):
        inspect_agent(tmp_path)
    assert list(tmp_path.iterdir()) == []
    start_run(tmp_path / "new", [])
    with pytest.raises(RunMissing):
        inspect_agent(tmp_path / "new")
    with open_run_folder(tmp_path / "new"):
        pass
    with pytest.raises(RunError, match="No agent has been trained yet"):
        inspect_agent(tmp_path / "new")


def test_controls_are_shown_and_do_nothing() -> None:
    assert visible("a\nb\tc") == "a\nb\tc"
    assert visible("\x1b[31m\x07\x00") == "␛[31m␇␀"
    assert visible("\u202eabc\u2066\x9b\x7f") == "⟨U+202E⟩abc⟨U+2066⟩⟨U+009B⟩⟨U+007F⟩"
    assert visible("👩\u200d🚒") == "👩\u200d🚒"


class Reader(HTMLParser):
    """What a browser would make of the page: elements, addresses, and the text of the marked completion."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self._within = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        known = dict(attrs)
        self.addresses += [str(known[name]) for name in ("src", "href", "onerror") if name in known]
        self._within = self._within or known.get("class") == "spent"

    def handle_endtag(self, tag: str) -> None:
        self._within = self._within and tag != "p"

    def handle_data(self, data: str) -> None:
        self.text += data if self._within else ""


def test_the_page_holds_the_whole_text_and_no_text_of_a_model_runs() -> None:
    hostile = Transcript(
        HOSTILE, HOSTILE, HOSTILE, (token(2.0, HOSTILE, alternatives=(Alternative(HOSTILE, 0.5, 0.1),)),), 3.0
    )
    text = page([hostile], title=HOSTILE)
    read = Reader()
    read.feed(text)
    assert "img" not in read.elements and all(one.startswith("#") for one in read.addresses)
    assert read.text == visible(HOSTILE)
    assert "\x1b" not in text and "\u202e" not in text
    assert "default-src 'none'" in text and text.count("<svg") == 1 and 'role="img"' in text
    assert marked(hostile).count("<span") == 1 and 'class="kl4"' in marked(hostile)


def test_the_numbers_of_a_token_stand_beside_it() -> None:
    found = replace(made(0.5, 1.25), tokens=(token(0.5, "\n"), token(1.25, "")))
    assert token_rows(found) == [
        ('"\\n"', "0.500", "0.50", percent(exp(-0.5)), percent(exp(-2.0)), "0.25"),
        ('"<end>"', "1.250", "1.75", "61%", "14%", "0.25"),
    ]
    assert [each.shown for each in found.tokens] == ["↵\n", "⟨<end>⟩"]
