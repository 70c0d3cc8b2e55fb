from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from reward_models.model_card import CardFacts, base_name, write_model_card


def facts(**changes: object) -> CardFacts:
    given = {"title": "A reward", "summary": "What it is.", "base_model": "some/base", "usage": "score = 1\n"}
    return CardFacts(**given | changes)  # type: ignore[arg-type]


def test_a_card_has_the_front_matter_that_the_hub_reads(tmp_path: Path) -> None:
    write_model_card(tmp_path, facts(library="peft"))
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.library_name, data.pipeline_tag, data.base_model) == ("peft", "text-classification", "some/base")
    assert "reward-model" in data.tags


def test_a_card_says_what_it_was_given_in_order(tmp_path: Path) -> None:
    write_model_card(tmp_path, facts(notes=("First.", "Second."), figures={"accuracy": 0.123456, "pairs": 7}))
    text = ModelCard.load(tmp_path / "README.md").text
    parts = ["# A reward", "What it is.", "Higher is better.", "```python\nscore = 1\n```", "First.", "Second."]
    places = [text.index(part) for part in [*parts, "| accuracy | 0.1235 |\n| pairs | 7 |"]]
    assert places == sorted(places)


def test_a_card_without_figures_or_base_says_nothing_of_them(tmp_path: Path) -> None:
    write_model_card(tmp_path, facts(base_model=""))
    text = (tmp_path / "README.md").read_text()
    assert "base_model" not in text
    assert "measured" not in text


@pytest.mark.parametrize(
    ("source", "name"),
    [("some/base", "some/base"), ("gpt2", "gpt2"), ("/home/somebody/models/base", "base"), ("a/b/c", "c"), ("", "")],
)
def test_a_card_names_no_place_on_one_machine(source: str, name: str) -> None:
    assert base_name(source) == name


def test_a_folder_here_is_not_taken_for_a_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some" / "base").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert base_name("some/base") == "base"
