"""Texts cut to what a model reads: nothing changes that fits, ends of prompts and beginnings of completions stay."""

import copy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.fitting_text import fitted_to_context
from agents.policy import Policy
from agents.rollout import trace
from reward_models.errors import InvalidInput
from rrm.tasks.shiftlog.task import Shiftlog

WORDS = [f"word{n}" for n in range(900)]


@pytest.fixture(scope="module")
def policy() -> Policy:
    """The shipped base, which reads 1,024 tokens."""
    return Policy.load(Shiftlog(seed=0).base_model())


def tokens(policy: Policy, prompt: str, completion: str) -> int:
    return len(policy.encode_prompt(prompt)) + len(policy.encode_completion(completion))


def test_what_fits_stays_as_it_is(policy: Policy) -> None:
    fitted = fitted_to_context(policy, "Tell me.", ["One.", "Two."])
    assert (fitted.prompt, fitted.completions, fitted.cut) == ("Tell me.", ("One.", "Two."), 0)


def test_a_completion_may_have_more_than_half_where_the_prompt_leaves_it(policy: Policy) -> None:
    """As long as both fit nothing is cut; beyond, a short prompt stays whole and the completion has the rest."""
    completion = " ".join(WORDS[:150])
    length = len(policy.encode_completion(completion))
    assert 512 < length < 1000
    fitted = fitted_to_context(policy, "Tell me.", [completion, "short"])
    assert (fitted.completions, fitted.cut) == ((completion, "short"), 0)
    longer = fitted_to_context(policy, "Tell me.", [" ".join(WORDS)])
    assert (longer.prompt, longer.cut) == ("Tell me.", 1)
    assert 1024 - 8 <= tokens(policy, longer.prompt, longer.completions[0]) <= 1024


def test_a_long_prompt_keeps_its_end_and_a_long_completion_its_beginning(policy: Policy) -> None:
    long = " ".join(WORDS)
    fitted = fitted_to_context(policy, long, [long, "short"])
    assert fitted.cut == 2
    assert long.endswith(fitted.prompt) and long.startswith(fitted.completions[0])
    assert fitted.completions[1] == "short"
    assert len(policy.encode_completion(fitted.completions[0])) == 512
    # A step of the cut is eight tokens, so that no more than that is lost beyond what has to go.
    assert 1024 - 8 <= tokens(policy, fitted.prompt, fitted.completions[0]) <= 1024


@settings(max_examples=25, deadline=None)
@given(st.text(min_size=1), st.integers(0, 900), st.integers(0, 900))
def test_whatever_comes_can_be_read(policy: Policy, seam: str, before: int, after: int) -> None:
    prompt, completion = seam + " ".join(WORDS[:before]) + seam, seam * 3 + " ".join(WORDS[:after])
    fitted = fitted_to_context(policy, prompt, [completion])
    assert tokens(policy, fitted.prompt, fitted.completions[0]) <= 1024
    assert (fitted.cut == 0) == ((fitted.prompt, *fitted.completions) == (prompt, completion))


def test_a_model_that_cannot_read_a_pair_refuses_it_and_reads_what_was_fitted(policy: Policy, tmp_path: Path) -> None:
    long = " ".join(WORDS)
    fitted = fitted_to_context(policy, long, ["yes"])
    assert trace(policy, [fitted.prompt], [fitted.completions]).mask.sum() == len(policy.encode_completion("yes"))


def test_of_a_chat_what_the_user_says_is_cut_and_the_template_stays(policy: Policy) -> None:
    """Of a prompt that is little too long the beginning goes, and not the text that the template puts before it."""
    tokenizer = copy.deepcopy(policy.tokenizer)
    tokenizer.chat_template = "[be kind] {% for each in messages %}{{ each['content'] }}{% endfor %} [answer]"
    chat = Policy(policy.model, tokenizer, chat=True)
    said = next(" ".join(WORDS[:n]) for n in range(1, 900) if tokens(chat, " ".join(WORDS[:n]), "yes") > 1024)
    fitted = fitted_to_context(chat, said, ["yes"])
    assert said.endswith(fitted.prompt) and len(said) - len(fitted.prompt) < 80
    assert 1024 - 8 <= tokens(chat, fitted.prompt, "yes") <= 1024
    tokenizer.chat_template = "be kind " * 1200 + tokenizer.chat_template
    with pytest.raises(InvalidInput, match=r"cannot be cut to .* what the chat template puts around it"):
        fitted_to_context(chat, "Tell me.", ["yes"])
