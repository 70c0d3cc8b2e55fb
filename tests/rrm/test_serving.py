"""A run's reward model for other trainers: scores of any prompt, queries taken apart, and the command that serves."""

import json
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from urllib.request import urlopen

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.policy import Policy
from reward_models.conversations import Conversation
from reward_models.errors import InvalidInput, ServerError
from reward_models.remote_reward import RemoteReward, compute_score
from reward_models.reward_model import AbstractRewardModel, Kind
from rrm.errors import RunError
from rrm.opening import open_workbench
from rrm.own_text import score
from rrm.rewards.models import TextRewards
from rrm.serving.queries import ENDS, Opening, asked_in, completion_of
from rrm.serving.requests import Limits, RemoteRequest, remote_reward
from rrm.serving.rewards import TOGETHER, RunRewards
from rrm.starting import start_run
from rrm.tasks.document import Document
from tests.nursery import NURSERY, serve
from tests.rrm.small_runs import SMALL

LOG = "Day 1, early shift.\n#1 fire, pump 3. The crew was there.\n#2 jam, tank 1. It was seen."
BRIEFS = ["#1 fire", "#2 explosion\n#3 fire", ""]


@pytest.fixture(scope="module")
def level_0(finished: Path) -> RunRewards:
    return RunRewards.open(finished, level=0)


class Sizes(AbstractRewardModel):
    """Members that read texts: one counts the characters of the prompt, one those of the completion."""

    members = 2
    kind: Kind = "full"

    def scores(self, prompts: Sequence[Conversation], completions: Sequence[Conversation]) -> torch.Tensor:
        return torch.tensor([[float(len(text)) for text in texts] for texts in (prompts, completions)])

    def save(self, folder: Path) -> None:
        raise NotImplementedError


def test_scores_are_those_of_the_run_where_the_prompt_is_the_same(finished: Path, level_0: RunRewards) -> None:
    with open_workbench(finished, exclusive=False) as bench:
        prompt = bench.task.prompt(Document(id="own", title="", text=LOG))
    known = score(finished, LOG, BRIEFS, level=0)
    found = level_0.reward_function().score([prompt] * 3, BRIEFS)
    assert found.mean == pytest.approx([one.mean for one in known], abs=1e-4)
    assert found.spread == pytest.approx([one.spread for one in known], abs=1e-4)
    # What agents of the run are trained on: `lower` with 0.5, mean - 0.5 spread.
    assert found.rewards == pytest.approx([one.conservative for one in known], abs=1e-4)
    assert found.rewards == pytest.approx(
        [m - 0.5 * s for m, s in zip(found.mean, found.spread, strict=True)], abs=1e-5
    )


def test_a_prompt_is_read_as_it_comes(finished: Path, level_0: RunRewards) -> None:
    known = score(finished, LOG, ["#1 fire"], level=0)
    with_template, without = known[0].mean, float(level_0.estimate([LOG], ["#1 fire"]).mean)
    assert abs(with_template - without) > 1e-2


def test_a_score_is_its_own_whatever_stands_beside_it(level_0: RunRewards) -> None:
    prompts = [f"Day {place % 2}.\n#1 fire, pump {place % 2}." for place in range(2 * TOGETHER + 5)]
    completions = [f"#{place} fire" for place in range(len(prompts))]
    together = level_0.scores(prompts, completions)
    assert together.shape == (2, len(prompts))
    for place in (0, 1, 2, TOGETHER, len(prompts) - 1):
        alone = level_0.scores([prompts[place]], [completions[place]])
        torch.testing.assert_close(together[:, place], alone[:, 0], atol=1e-4, rtol=1e-4)
    assert len({round(float(number), 3) for number in together[0]}) > TOGETHER


def test_what_does_not_fit_changes_no_neighbour(level_0: RunRewards) -> None:
    context = level_0.base.context
    assert context is not None
    long = LOG * (3 * context // (4 * len(level_0.base.encode_prompt(LOG))))
    assert context // 2 < len(level_0.base.encode_prompt(long)) < context - 10
    # Long with short fits, long with long does not: there the prompt is cut, and only there.
    together = level_0.scores([long, long, "#1 fire"], ["#1 fire", long, long])
    for place, pair in enumerate([(long, "#1 fire"), (long, long), ("#1 fire", long)]):
        alone = level_0.scores([pair[0]], [pair[1]])
        torch.testing.assert_close(together[:, place], alone[:, 0], atol=1e-4, rtol=1e-4)


def test_a_prompt_without_tokens_is_named(level_0: RunRewards) -> None:
    with pytest.raises(InvalidInput, match=r"prompts\[1\] cannot be read: .* has no tokens"):
        level_0.scores(["#1 fire", ""], ["#1 fire", "#1 fire"])


def test_messages_are_read_for_what_they_say(level_0: RunRewards) -> None:
    asked, answered = [{"role": "user", "content": LOG}], [{"role": "assistant", "content": "#1 fire"}]
    assert torch.equal(level_0.scores([asked], [answered]), level_0.scores([LOG], ["#1 fire"]))
    with pytest.raises(InvalidInput, match=r"prompts\[1\] has messages of \['system', 'user'\]"):
        level_0.scores([LOG, [{"role": "system", "content": "Be brief."}, *asked]], ["#1 fire", "#1 fire"])
    with pytest.raises(InvalidInput, match=r"completions\[0\] has messages of \[\]; .*one message of the assistant"):
        level_0.scores([LOG], [[]])


def test_members_that_read_texts_are_asked_in_the_same_way(level_0: RunRewards) -> None:
    texts = RunRewards(TextRewards(Sizes(), chat=False), level_0.base, name="sizes", settings=level_0.settings)
    found = texts.reward_function(name="sizes").score(["aa", "b", "aa"], ["x", "yyyy", "zzz"])
    # Members give (2, 1), (1, 4), (2, 3): means 1.5, 2.5, 2.5, spreads 0.5, 1.5, 0.5; less half the spread.
    assert found.mean == pytest.approx((1.5, 2.5, 2.5))
    assert found.rewards == pytest.approx((1.25, 1.75, 2.25))


def test_a_level_without_a_reward_model_is_named(tmp_path: Path) -> None:
    start_run(tmp_path / "run", SMALL)
    with pytest.raises(RunError, match="Level 0 has no reward model yet"):
        RunRewards.open(tmp_path / "run", level=0)


@pytest.mark.parametrize(
    ("query", "prompt", "expected"),
    [
        ("Say: yes", "Say: ", "yes"),
        ("Say: yes</s>", "Say: ", "yes"),
        ("Say: yes<|im_end|><|endoftext|><|endoftext|>", "Say: ", "yes"),
        ("<s>Say: yes</s>", "Say: ", "yes"),
        ("<|begin_of_text|><s>Say: yes", "Say: ", "yes"),
        ("[CLS]Say: yes", "Say: ", "yes"),
        ("<pad><s>adyes", "ad", "yes"),
        # The prompt may hold marks itself, and the completion may hold the prompt or marks inside.
        ("<s><|user|>Hi<|assistant|>Hello<|im_end|>", "<|user|>Hi<|assistant|>", "Hello"),
        ("Say: Say: <b>yes</b> </s>no", "Say: ", "Say: <b>yes</b> </s>no"),
        ("Say: ", "Say: ", ""),
        ("Say: </s>", "Say: ", ""),
        ("yes", "", "yes"),
        ("Say: yes<END>", "Say: ", "yes<END>"),
        # Tokenizers that begin every text with a space decode one beside each special token.
        ("<s> Say: yes</s>", "Say: ", "yes"),
        ("<s> [INST] Say it [/INST]  Yes.</s>", "<s>[INST] Say it [/INST]", "  Yes."),
        (
            "<|im_start|> user\nHi<|im_end|> \n<|im_start|> bot\nYo",
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>bot\n",
            "Yo",
        ),
        ("<s> <|user|> Hi <|bot|> Yo", "<|user|>Hi<|bot|>", " Yo"),
        ("<|user|> Hi", "<|user|> ", "Hi"),
    ],
)
def test_the_completion_stands_behind_the_prompt(query: str, prompt: str, expected: str) -> None:
    assert completion_of(query, prompt, ends=ENDS) == expected


def test_marks_of_a_run_of_ones_own_may_be_named() -> None:
    assert completion_of("Say: yes<END><END>", "Say: ", ends=(*ENDS, "<END>")) == "yes"


PIECES = st.lists(st.sampled_from(["a", " ", "<", ">", "</", "s>", "<s>", "[CLS]", "é", *ENDS]), max_size=6).map(
    "".join
)


@given(prompt=PIECES, completion=PIECES, ends=st.lists(st.sampled_from(ENDS), max_size=3))
def test_any_completion_is_found_again(prompt: str, completion: str, ends: list[str]) -> None:
    clean = completion_of(completion, "", ends=ENDS)
    assert completion_of(prompt + clean + "".join(ends), prompt, ends=ENDS) == clean


@pytest.mark.parametrize("query", ["ay: yes", "well, Say: yes", "<s> x Say: yes", "", "<s>", "Sa"])
def test_a_query_without_its_prompt_in_front_is_refused(query: str) -> None:
    with pytest.raises(InvalidInput, match=r"query\[2\] does not begin with its prompt.*'Say: '"):
        completion_of(query, "Say: ", ends=ENDS, name="query[2]")


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("<user>Hi</user><answer>", "Hi"),
        ("<user></user><answer>", ""),
        ("<user>a</user><answer>b</user><answer>", "a</user><answer>b"),
        ("Hi", "Hi"),
        ("<user>Hi", "<user>Hi"),
        ("Hi</user><answer>", "Hi</user><answer>"),
        ("<s><user>Hi</user><answer>", "<s><user>Hi</user><answer>"),
    ],
)
def test_the_marks_of_a_template_are_taken_off_where_they_are_around_it(prompt: str, expected: str) -> None:
    assert asked_in(prompt, Opening("<user>", "</user><answer>")) == expected
    assert asked_in(prompt, None) == prompt


@pytest.mark.parametrize(
    "prompt",
    [
        "<user>Date: 21 Nov\nHi</user><answer>",  # of another day
        "<user>Be kind.</user><user>Date: 22 Nov\nHi</user><answer>",  # behind another message
    ],
)
def test_a_prompt_that_only_looks_like_the_template_is_refused(prompt: str) -> None:
    opening = Opening("<user>Date: 22 Nov\n", "</user><answer>")
    with pytest.raises(InvalidInput, match=r"prompts\[3\] begins with '<user>.*begins with '<user>Date: 22 Nov"):
        asked_in(prompt, opening, name="prompts[3]")
    assert asked_in("Date: 21 Nov\nHi", opening) == "Date: 21 Nov\nHi"


def test_marks_that_overlap_are_not_both_there() -> None:
    assert asked_in("<|>", Opening("<|", "|>")) == "<|>"


def test_a_chat_model_s_own_template_is_known(level_0: RunRewards) -> None:
    assert level_0.opening is None
    tokenizer = deepcopy(level_0.base.tokenizer)
    tokenizer.chat_template = (
        "{% for each in messages %}{{ each['role'] }}: {{ each['content'] | trim }}.\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    chat = Policy(level_0.base.model, tokenizer, chat=True)
    found = RunRewards(level_0.rewards, chat, name="chat", settings=level_0.settings)
    assert found.opening == Opening("user: ", ".\nassistant:")
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": LOG}], tokenize=False, add_generation_prompt=True
    )
    request = RemoteRequest(query=[f"{rendered}#1 fire"], prompts=[rendered])
    reply = remote_reward(found.reward_function(), request, limits=Limits(), opening=found.opening)
    # The same as of the prompt without its template, and not as of one with two of them.
    assert reply.extra_logs["mean"] == pytest.approx(found.estimate([LOG], ["#1 fire"]).mean.tolist(), abs=1e-5)
    twice = remote_reward(found.reward_function(), request, limits=Limits())
    assert abs(twice.extra_logs["mean"][0] - reply.extra_logs["mean"][0]) > 1e-2


def test_the_command_serves_what_the_run_would_say_until_it_is_interrupted(
    finished: Path, level_0: RunRewards, tmp_path: Path
) -> None:
    reading, writing = NURSERY.Pipe(duplex=False)
    words = ["serve-reward", str(finished), "--level", "0", "--port", "0"]
    process = NURSERY.Process(target=serve, args=(words, writing))
    process.start()
    writing.close()
    with os.fdopen(os.dup(reading.fileno()), encoding="utf-8") as output:
        reading.close()
        said = [output.readline() for _ in range(3)]
        assert "(2 members, `lower` with 0.5): http://127.0.0.1:" in said[0], said
        url = said[0].rsplit(" ", 1)[1].strip().rstrip("/")
        token = said[1].removeprefix("Token, shown this once: ").strip()
        assert len(token) == 32
        with urlopen(f"{url}/health") as answer:
            assert json.loads(answer.read()) == {"status": "ok"}
        expected = level_0.reward_function()([LOG] * 3, BRIEFS)
        assert RemoteReward(url, token=token)([LOG] * 3, BRIEFS) == pytest.approx(expected, abs=1e-4)
        (tmp_path / "token").write_text(token)
        verl = compute_score("logs", BRIEFS[0], None, {"question": LOG}, url=url, token_file=str(tmp_path / "token"))
        assert verl["score"] == pytest.approx(expected[0], abs=1e-4)
        with pytest.raises(ServerError, match=r"\(401\)"):
            RemoteReward(url, token=token[::-1])(["p"], ["a"])
        query = json.dumps({"query": [f"{LOG}#1 fire</s>"], "prompts": [LOG], "labels": [""]}).encode()
        with urlopen(f"{url}/get_reward?token={token}", data=query) as answer:
            assert json.loads(answer.read())["rewards"] == pytest.approx(expected[:1], abs=1e-4)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        process.join(60)
        rest = output.read()
    assert process.exitcode == 130
    assert "Traceback" not in rest
    assert rest.startswith("Interrupted.")
    assert token not in rest


def test_a_port_in_use_is_said_before_anything_is_loaded(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from ui.cli import main

    (tmp_path / "token").write_text("  short ")
    monkeypatch.setenv("RRM_TOKEN", "long-enough-for-a-token")
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        for more, sentence in (
            ([], f"Port {port} is in use"),
            (["--token-file", str(tmp_path / "token")], f"{tmp_path / 'token'} holds no usable token"),
            (["--token-file", str(tmp_path / "none")], "No such file"),
        ):
            with pytest.raises(SystemExit) as leaving:
                main(["serve-reward", str(finished), "--level", "0", "--port", port, *more])
            said = capsys.readouterr()
            assert leaving.value.code == 1
            assert sentence in said.err
            assert len(said.err.strip().splitlines()) == 1
            assert not said.out
