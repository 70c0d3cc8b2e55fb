import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from reward_models.ensemble import CONFIG_FILE, TENSORS_FILE, Ensemble
from reward_models.errors import ArtifactError, InvalidInput, NonFinite
from reward_models.features import extract
from reward_models.trace import CompletionTrace


def small(*, temperature: float = 2.0, members: int = 2, names: tuple[str, ...] = ()) -> Ensemble:
    return Ensemble(
        weights=torch.tensor([[1.0, -2.0], [0.5, 0.0], [0.1, 0.3]], dtype=torch.float64)[:members],
        feature_mean=torch.tensor([10.0, 0.0], dtype=torch.float64),
        feature_scale=torch.tensor([2.0, 1.0], dtype=torch.float64),
        temperature=temperature,
        feature_names=names,
    )


def test_scores_computed_by_hand() -> None:
    # Features (14, 3) standardise to (2, 3). Member 0: (2 - 6)/2 = -2, member 1: 1/2 = 0.5. The mean scores 0.
    found = small().scores(torch.tensor([[14.0, 3.0], [10.0, 0.0]]))
    assert found.tolist() == [[-2.0, 0.0], [0.5, 0.0]]
    assert found.dtype == torch.float32


def test_temperature_divides_every_score() -> None:
    features = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(small(temperature=0.5).scores(features), 4.0 * small(temperature=2.0).scores(features))


def test_score_trace_extracts_what_the_ensemble_was_fitted_on() -> None:
    generator = torch.Generator().manual_seed(0)
    trace = CompletionTrace(
        log_probabilities=-torch.rand(3, 4, generator=generator),
        hidden=torch.randn(3, 4, 2, generator=generator),
        mask=torch.ones(3, 4, dtype=torch.bool),
    )
    ensemble = small(names=("last_hidden",))
    assert torch.equal(ensemble.score_trace(trace), ensemble.scores(extract(trace, ("last_hidden",))))
    with pytest.raises(InvalidInput, match="feature names"):
        small(names=()).score_trace(trace)


def test_features_that_cannot_be_scored_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"expected \(sequences, 2\)"):
        small().scores(torch.zeros(4, 3))
    with pytest.raises(NonFinite):
        small().scores(torch.tensor([[1.0, torch.inf]]))


def test_parts_that_do_not_make_an_ensemble_are_refused() -> None:
    good = small()
    with pytest.raises(InvalidInput, match="temperature"):
        small(temperature=0.0)
    with pytest.raises(InvalidInput, match="scale"):
        Ensemble(good.weights, good.feature_mean, torch.zeros(2, dtype=torch.float64), 1.0, ())
    with pytest.raises(NonFinite):
        Ensemble(good.weights * torch.nan, good.feature_mean, good.feature_scale, 1.0, ())


def test_what_is_loaded_scores_bit_for_bit_as_what_was_saved(tmp_path: Path) -> None:
    saved = small(temperature=1 / 3, names=("mean_hidden", "last_hidden"))
    saved.save(tmp_path / "below" / "ensemble")
    loaded = Ensemble.load(tmp_path / "below" / "ensemble")
    features = torch.randn(9, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.equal(loaded.scores(features), saved.scores(features))
    assert (loaded.feature_names, loaded.temperature) == (saved.feature_names, saved.temperature)


def test_the_folder_holds_two_files_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "ensemble"
    small(members=3).save(folder)
    small(members=2).save(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["ensemble"]
    assert {path.name for path in folder.iterdir()} == {TENSORS_FILE, CONFIG_FILE}
    assert Ensemble.load(folder).members == 2
    config = json.loads((folder / CONFIG_FILE).read_text())
    assert (config["members"], config["input_width"], config["temperature"]) == (2, 2, 2.0)


def test_a_save_that_cannot_be_finished_leaves_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "ensemble"
    folder.write_text("not a folder, and not ours")
    with pytest.raises(ArtifactError, match="could not save"):
        small().save(folder / "inside")
    assert folder.read_text() == "not a folder, and not ours"


def test_equal_ensembles_are_equal_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        small().save(tmp_path / name)
    for file in (TENSORS_FILE, CONFIG_FILE):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def _edit_config(key: str, value: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / CONFIG_FILE).read_text())
        config[key] = value
        (folder / CONFIG_FILE).write_text(json.dumps(config))

    return edit


def _flip_one_byte(folder: Path) -> None:
    data = bytearray((folder / TENSORS_FILE).read_bytes())
    data[-1] ^= 1
    (folder / TENSORS_FILE).write_bytes(data)


def _drop_a_tensor(folder: Path) -> None:
    tensors: dict[str, Tensor] = load_file(folder / TENSORS_FILE)
    del tensors["feature_mean"]
    save_file(tensors, folder / TENSORS_FILE)
    _edit_config("sha256", _sha256(folder / TENSORS_FILE))(folder)


def _no_safetensors(folder: Path) -> None:
    (folder / TENSORS_FILE).write_bytes(b"hello")
    _edit_config("sha256", _sha256(folder / TENSORS_FILE))(folder)


def _sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


DAMAGES: list[tuple[str, Callable[[Path], None], str]] = [
    ("config missing", lambda folder: (folder / CONFIG_FILE).unlink(), "cannot be read"),
    ("tensors missing", lambda folder: (folder / TENSORS_FILE).unlink(), "cannot be read"),
    ("config cut", lambda folder: (folder / CONFIG_FILE).write_text('{"format_ver') and None, "not JSON"),
    ("config a list", lambda folder: (folder / CONFIG_FILE).write_text("[]") and None, "format version None"),
    ("newer format", _edit_config("format_version", 2), "format version 2, expected 1"),
    ("one byte flipped", _flip_one_byte, "sha256 differs"),
    ("tensor missing", _drop_a_tensor, "feature_mean"),
    ("no safetensors", _no_safetensors, "usable ensemble"),
    ("other members", _edit_config("members", 7), r"\(7, 2\)"),
    ("other width", _edit_config("input_width", 3), r"\(2, 3\)"),
    ("no temperature", _edit_config("temperature", None), "lacks or garbles"),
    ("bad temperature", _edit_config("temperature", -1.0), "temperature is -1.0"),
]


@pytest.mark.parametrize(("damage", "said"), [case[1:] for case in DAMAGES], ids=[case[0] for case in DAMAGES])
def test_a_damaged_folder_says_what_is_wrong(tmp_path: Path, damage: Callable[[Path], None], said: str) -> None:
    folder = tmp_path / "ensemble"
    small().save(folder)
    damage(folder)
    with pytest.raises(ArtifactError, match=said):
        Ensemble.load(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nowhere"):
        Ensemble.load(tmp_path / "nowhere")
