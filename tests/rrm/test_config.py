"""The configuration: what is refused and in which words, and that what is written is read back."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.config import Configuration, RewardSection, section_models
from rrm.config_file import config_text, configure, default_config, read_config, toml_value, write_config
from rrm.errors import ConfigurationError
from rrm.starting import start_run


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        default_config(overrides)
    return str(caught.value)


def test_defaults_survive_the_file(tmp_path: Path) -> None:
    write_config(tmp_path / "run.toml")
    assert read_config(tmp_path / "run.toml") == Configuration()
    assert list(tmp_path.iterdir()) == [tmp_path / "run.toml"]


@given(
    seed=st.integers(0, 2**32 - 1),
    rate=st.floats(1e-12, 1),
    beta=st.floats(0, allow_infinity=False),
    bf16=st.booleans(),
    budget=st.none() | st.integers(1),
    features=st.lists(
        st.sampled_from(["likelihood_statistics", "summed_hidden", "last_hidden"]), min_size=1, unique=True
    ),
)
def test_any_configuration_survives_the_file(
    seed: int, rate: float, beta: float, bf16: bool, budget: int | None, features: list[str]
) -> None:
    config = configure(
        {
            "run": {"seed": seed},
            "agent": {"learning_rate": rate, "beta": beta, "bf16": bf16},
            "judging": {"reading_budget": budget},
            "reward": {"features": features},
        },
        source="a test",
    )
    assert configure(tomllib.loads(config_text(config)), source="the file") == config


@given(st.text(st.characters(codec="utf-8")))
def test_any_string_is_written_as_toml(text: str) -> None:
    assert tomllib.loads(f"value = {toml_value(text)}") == {"value": text}


def test_every_key_is_explained_in_the_file() -> None:
    text = config_text(Configuration())
    for model in section_models().values():
        for key, field in model.model_fields.items():
            assert f"# {field.description}\n" in text
            assert f"{key} =" in text


def test_flags_lie_on_top_and_keep_their_type(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("[agent]\nsteps = 3\nbeta = 1\n[run]\nseed = 5\n")
    config = read_config(
        tmp_path / "run.toml",
        ["agent.steps = 40", "agent.bf16=true", "judging.rater=people", 'reward.features=["likelihood_statistics"]'],
    )
    assert (config.agent.steps, config.agent.beta, config.run.seed) == (40, 1.0, 5)
    assert config.agent.bf16 is True
    assert config.judging.rater == "people"
    assert config.reward.features == ("likelihood_statistics",)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("agent.step=1", "did you mean agent.steps?"),
        ("agent.seed=1", "did you mean run.seed?"),
        ("run.learning_rat=1", "did you mean agent.learning_rate?"),
        ("agents.steps=1", "did you mean [agent]?"),
        ("agent.zzzzzz=1", "[agent] has objective, regularizer"),
        ("zzzzzz.steps=1", "the sections are run, model"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(override: str, named: str) -> None:
    message = refusal(override)
    assert "unknown" in message
    assert named in message


def test_a_key_outside_of_its_section_is_sent_there() -> None:
    with pytest.raises(ConfigurationError, match=r"write it under \[run\]"):
        configure({"seed": 3}, source="run.toml")


@pytest.mark.parametrize(
    ("override", "explained"),
    [
        ("agent.steps=-3", "agent.steps is -3, but should be greater than or equal to 1 (Optimisation steps"),
        ("agent.steps=2.5", "agent.steps is 2.5, but should be a valid integer"),
        ("agent.beta=nan", "agent.beta is NaN, but should be a finite number"),
        ("agent.bf16=1", "should be a valid boolean"),
        ("judging.rater=robot", "judging.rater is \"robot\", but should be 'simulated'"),
        ("reward.features=[]", "at least 1 item"),
        ('reward.features=["likelihood_statistics", "likelihood_statistics"]', "name each feature once"),
        ("run.seed=oops", 'run.seed is "oops"'),
    ],
)
def test_an_impossible_value_is_explained(override: str, explained: str) -> None:
    assert explained in refusal(override)


def test_entropic_needs_a_coefficient() -> None:
    assert "[reward]: 'entropic' divides by" in refusal("reward.conservative=entropic", "reward.coefficient=0")
    assert RewardSection(conservative="mean", coefficient=0).coefficient == 0


def test_all_faults_are_named_at_once() -> None:
    message = refusal("agent.steps=0", "run.sed=1")
    assert "agent.steps" in message and "run.seed" in message


@pytest.mark.parametrize("override", ["steps=3", "agent.steps", "agent.=3", ""])
def test_a_malformed_flag_is_explained(override: str) -> None:
    assert "section.key=value" in refusal(override)


def test_a_flag_cannot_smuggle_in_a_second_key() -> None:
    assert "agent.steps" in refusal("agent.steps=3\nother=4")


def test_a_flag_on_a_scalar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("agent = 3\n")
    with pytest.raises(ConfigurationError, match="agent is not a section"):
        read_config(tmp_path / "run.toml", ["agent.steps=3"])
    with pytest.raises(ConfigurationError, match="agent"):
        read_config(tmp_path / "run.toml")


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="`rrm init` writes one"):
        read_config(tmp_path / "run.toml")
    for content in (b"[run\nseed = 1", b"\xff\xfe\x00"):
        (tmp_path / "run.toml").write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"run\.toml is not valid TOML"):
            read_config(tmp_path / "run.toml")


def test_starting_never_replaces_a_configuration(tmp_path: Path) -> None:
    start_run(tmp_path / "new", ["run.seed=3"])
    with pytest.raises(ConfigurationError, match="exists already"):
        start_run(tmp_path / "new", ["run.seed=4"])
    assert read_config(tmp_path / "new" / "run.toml").run.seed == 3


def test_starting_with_a_refused_setting_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        start_run(tmp_path / "new", ["run.levels=0"])
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="is a file"):
        start_run(tmp_path / "file")
