"""The base model's tokenizer: short where the log repeats itself, and never at a loss."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from rrm.tasks.shiftlog.language import EQUIPMENT, EVENTS, REMARKS, UNITS, write_claim
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.shiftlog.tokens import END, PAD, VOCABULARY, train_tokenizer
from rrm.tasks.shiftlog.world import SEVERITY_SHARES, entries_per_document
from rrm.tasks.task import Split

LOGS = 120
# 120 periods have 120 x 36 = 4,320 entries, so each of 12 x 8 = 96 units is seen 45 times and each of 36 numbers 120.


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(seed=1, documents=LOGS)


def encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    found = tokenizer(text)["input_ids"]
    assert isinstance(found, list)
    return found


def test_the_same_seed_learns_the_same_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    again = train_tokenizer(seed=1, documents=LOGS)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_a_claim_is_two_tokens_and_a_line_end(tokenizer: PreTrainedTokenizerFast) -> None:
    for number in range(1, entries_per_document(2) + 1):
        for severity in SEVERITY_SHARES:
            for event in EVENTS[severity]:
                assert len(encode(tokenizer, write_claim(number, event) + "\n")) == 3


def test_equipment_and_remarks_are_one_token_each(tokenizer: PreTrainedTokenizerFast) -> None:
    """A line of the log is its number, its event, its unit, its remark and the line end: five tokens at most."""
    for kind in EQUIPMENT:
        for unit in range(1, UNITS + 1):
            for remark in REMARKS[:2]:
                assert len(encode(tokenizer, f"#1 fire, {kind} {unit}. {remark}\n")) <= 5
    assert max(len(encode(tokenizer, f" {remark}\n")) for remark in REMARKS) <= 2


def test_a_period_fits_a_small_context(tokenizer: PreTrainedTokenizerFast) -> None:
    """Nine titles of a token and a line end, 36 entries of five tokens, and two for the ending, at most."""
    task = Shiftlog(seed=4)
    for index in range(5):
        tokens = encode(tokenizer, task.prompt(task.document(split=Split.TEST, level=2, index=index)))
        assert len(tokens) <= 9 * 2 + 36 * 5 + 2


def test_prompt_and_brief_are_tokenised_alike_apart_and_together(tokenizer: PreTrainedTokenizerFast) -> None:
    task = Shiftlog(seed=4)
    prompt = task.prompt(task.document(split=Split.TEST, level=1, index=0))
    for brief in ("", "#1 fire", "#1 fire\n#12 gas leak", "something else"):
        assert encode(tokenizer, prompt) + encode(tokenizer, brief) == encode(tokenizer, prompt + brief)


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(text: str, tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.decode(encode(tokenizer, text)) == text


def test_padding_and_end_are_tokens_of_their_own(tokenizer: PreTrainedTokenizerFast) -> None:
    assert (tokenizer.pad_token, tokenizer.eos_token) == (PAD, END)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert (
        tokenizer.decode([*encode(tokenizer, "#1 fire"), tokenizer.eos_token_id], skip_special_tokens=True) == "#1 fire"
    )
    assert len(tokenizer) <= VOCABULARY
