"""Where a model computes and in which precision, on machines with and without accelerators."""

from typing import get_args

import pytest
import torch

from agents.choosing import DtypeName, Trained, choose_device, choose_dtype
from reward_models.errors import InvalidInput

CPU = torch.device("cpu")
CUDA = torch.device("cuda:1")


def machine(monkeypatch: pytest.MonkeyPatch, *, cuda: int = 0, mps: bool = False, capability: int = 9) -> None:
    """What torch says of a machine with so many CUDA devices of a compute capability."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (capability, 0))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "found"), [(0, False, "cpu"), (0, True, "mps"), (2, False, "cuda"), (2, True, "cuda")]
)
def test_auto_is_the_best_that_is_there(monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, found: str) -> None:
    machine(monkeypatch, cuda=cuda, mps=mps)
    assert choose_device("auto") == torch.device(found)
    assert choose_device("cpu") == CPU


def test_a_device_is_taken_by_its_name_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cuda=2, mps=True)
    assert [str(choose_device(name)) for name in ("cuda", "cuda:0", "cuda:1", "mps")] == [
        "cuda", "cuda:0", "cuda:1", "mps",
    ]  # fmt: skip
    with pytest.raises(InvalidInput, match=r"'cuda:2' is not there: torch \S+ sees 2 of type cuda; choose 'auto'"):
        choose_device("cuda:2")


@pytest.mark.parametrize("wanted", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    machine(monkeypatch)
    with pytest.raises(InvalidInput, match=rf"'{wanted}' is not there: torch \S+ sees 0 of type"):
        choose_device(wanted)


@pytest.mark.parametrize(("wanted", "said"), [("gpu", "'gpu' is unknown"), ("", "''"), ("meta", "'meta' is none")])
def test_a_word_that_is_no_device_is_named(wanted: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=f"The device {said}.*choose auto"):
        choose_device(wanted)


def test_trained_weights_stay_float32_and_those_below_an_adapter_need_not(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cuda=2)
    full, lora = get_args(Trained)
    assert choose_dtype("auto", CUDA, trained=full) == torch.float32
    assert choose_dtype("auto", CUDA, trained=lora) == torch.bfloat16
    assert choose_dtype("auto", CPU, trained=lora) == torch.float32
    assert choose_dtype("auto", torch.device("mps"), trained=lora) == torch.float32
    # Turing (7.5) takes bfloat16 and imitates it.
    machine(monkeypatch, cuda=2, capability=7)
    assert choose_dtype("auto", CUDA, trained=lora) == torch.float32
    assert choose_dtype("bfloat16", CUDA, trained=lora) == torch.bfloat16


def test_a_precision_that_would_lose_the_training_is_refused() -> None:
    assert choose_dtype("float32", CPU, trained="full") == torch.float32
    assert choose_dtype("bfloat16", CPU, trained="lora") == torch.bfloat16
    assert choose_dtype("float16", CUDA, trained="lora") == torch.float16
    names: tuple[DtypeName, ...] = ("bfloat16", "float16")
    for wanted in names:
        with pytest.raises(InvalidInput, match=f"steps of AdamW are lost in {wanted}; choose auto or float32"):
            choose_dtype(wanted, CUDA, trained="full")
    with pytest.raises(InvalidInput, match="float16 overflows early"):
        choose_dtype("float16", CPU, trained="lora")


def test_a_step_of_adamw_is_lost_in_bfloat16() -> None:
    """Why: 8 bits of precision hold no change below 2^-9 of a weight, and a step is about the learning rate."""
    for dtype, moved in ((torch.float32, True), (torch.bfloat16, False)):
        weight = torch.ones((), dtype=dtype, requires_grad=True)
        optimizer = torch.optim.AdamW([weight], lr=1e-3, weight_decay=0.0)
        weight.grad = torch.ones((), dtype=dtype)
        optimizer.step()
        assert (weight.item() != 1.0) is moved
