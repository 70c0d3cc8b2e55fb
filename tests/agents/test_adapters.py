"""LoRA: what starts as the base, trains alone, leaves its reference as it was, and is read by plain peft."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from agents.objectives.rloo import RLOO
from agents.passes import completion_pass, prefill
from agents.policy import Policy
from agents.regularizer import FixedPenalty
from agents.rollout import rollout
from agents.training import StepRecord, TrainSettings, train
from reward_models.errors import ArtifactError, InvalidInput
from tests.agents.enumerable import World, world
from tests.agents.objective_contract import EveryCompletion

PROMPTS = ["w1 w2 w3 w4", "w2", "w3 w3"]
TOKENS = torch.randint(0, 8, (6, 4), generator=torch.Generator().manual_seed(3))
MakePolicy = Callable[..., Policy]
# peft itself reads a property that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def noise(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def wake(policy: Policy) -> Policy:
    """Adapters that do something: B is 0 at first."""
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.5, generator=noise(7))
    return policy


def frozen_copy(policy: Policy) -> Policy:
    """Torch rounds a product otherwise where the weights ask for a gradient; bit for bit means among frozen ones."""
    found = policy.copy()
    found.model.requires_grad_(False)
    return found


@torch.no_grad()
def logits(policy: Policy) -> Tensor:
    with policy.active() as model:
        shared = prefill(model, [policy.encode_prompt(prompt) for prompt in PROMPTS], pad_id=policy.pad_id)
        return completion_pass(model, shared, TOKENS, group=2).logits


def adapter_weights(policy: Policy) -> dict[str, Tensor]:
    return {name: one.detach().clone() for name, one in policy.model.named_parameters() if "lora_" in name}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_fresh_adapter_changes_nothing_and_trains_alone(make_policy: MakePolicy) -> None:
    base = make_policy(1)
    policy = base.with_lora(rank=3, generator=noise(0))
    assert torch.equal(logits(policy), logits(frozen_copy(base)))
    trained = {name for name, one in policy.model.named_parameters() if one.requires_grad}
    # Seven linear layers in each of two layers, A and B; the output layer has none.
    assert len(trained) == 28 and all("lora_" in name for name in trained)
    assert all(one.requires_grad for one in base.model.parameters())
    # The weights below lie in memory once.
    own, below = base.model.model.layers[0].mlp.up_proj, policy.model.model.layers[0].mlp.up_proj.base_layer
    assert own.weight.data_ptr() == below.weight.data_ptr() and own.weight is not below.weight


def test_adapters_start_as_their_generator_says(make_policy: MakePolicy) -> None:
    base = make_policy(1)
    found = []
    for disturbance in (1, 2):
        torch.manual_seed(disturbance)
        before = torch.get_rng_state()
        found.append(adapter_weights(base.with_lora(rank=3, generator=noise(5))))
        assert torch.equal(torch.get_rng_state(), before)
    assert equal(*found)
    assert not equal(found[0], adapter_weights(base.with_lora(rank=3, generator=noise(6))))
    for name, value in found[0].items():
        if "lora_A" in name:
            # Uniform within 1 / sqrt(inputs): its standard deviation is that over sqrt(3); 48 to 72 numbers each.
            bound = value.shape[1] ** -0.5
            assert value.shape[0] == 3 and float(value.abs().max()) <= bound
            assert float(value.std()) == pytest.approx(bound / 3**0.5, rel=0.35)
        else:
            assert not bool(value.any())


def test_targets_and_scale_are_what_was_asked(make_policy: MakePolicy) -> None:
    base = make_policy(1)
    policy = base.with_lora(rank=2, alpha=6, targets=["v_proj"], generator=noise(0))
    weights = adapter_weights(wake(policy))
    assert len(weights) == 4 and all(".v_proj." in name for name in weights)
    layer = policy.model.model.layers[1].self_attn.v_proj
    states = torch.randn(5, 16, generator=noise(1))
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    # 6 / 2 = 3.
    expected = states @ (layer.base_layer.weight + 3 * up @ down).T
    torch.testing.assert_close(layer(states), expected, atol=1e-5, rtol=1e-5)
    assert base.with_lora(rank=2, generator=noise(0)).model.peft_config["default"].lora_alpha == 4


def test_switched_off_it_is_the_base_bit_for_bit(make_policy: MakePolicy) -> None:
    base = make_policy(1)
    policy = wake(base.with_lora(generator=noise(0)))
    reference, untouched = policy.without_adapter(), logits(frozen_copy(base))
    acting = logits(policy)
    assert reference.model is policy.model
    assert torch.equal(logits(reference), untouched)
    assert float((acting - untouched).abs().max()) > 0.1
    row = torch.tensor([[1, 2, 3]])
    outside = policy.model(input_ids=row).logits
    with pytest.raises(KeyError), reference.active():
        assert not torch.equal(policy.model(input_ids=row).logits, outside)
        raise KeyError
    # Outside of any pass the model stands as it did.
    assert torch.equal(policy.model(input_ids=row).logits, outside)
    assert torch.equal(logits(policy), acting)
    with reference.active(), policy.active():
        assert torch.equal(logits(policy), acting)
        assert torch.equal(logits(reference), untouched)


def test_switching_leaves_what_is_trained(make_policy: MakePolicy) -> None:
    policy = make_policy(1).with_lora(generator=noise(0))
    some = next(one for name, one in policy.model.named_parameters() if "lora_A" in name)
    some.requires_grad_(False)
    asked = {name: one.requires_grad for name, one in policy.model.named_parameters()}
    with policy.without_adapter().active() as model:
        assert {name: one.requires_grad for name, one in model.named_parameters()} == asked
    assert {name: one.requires_grad for name, one in policy.model.named_parameters()} == asked


def test_who_is_the_same_as_whom(make_policy: MakePolicy) -> None:
    base = make_policy(1)
    policy = base.with_lora(generator=noise(0))
    reference = policy.without_adapter()
    assert policy.is_same_as(policy.conditioned("w1 ")) and reference.is_same_as(policy.without_adapter())
    for one, other in [(policy, reference), (policy, base), (reference, base), (policy, policy.copy())]:
        assert not one.is_same_as(other) and not other.is_same_as(one)
    assert base.is_same_as(base.without_adapter())


def test_copies_keep_the_adapter_as_it_was_used(make_policy: MakePolicy) -> None:
    policy = wake(make_policy(1).with_lora(generator=noise(0)))
    reference = policy.without_adapter()
    acting, untouched = logits(policy), logits(reference)
    twin, still = policy.copy(), reference.copy()
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.5)
    assert torch.equal(logits(twin), acting) and torch.equal(logits(still), untouched)
    assert torch.equal(logits(twin.without_adapter()), untouched)
    assert {name for name, one in twin.model.named_parameters() if one.requires_grad} == adapter_weights(twin).keys()
    assert not torch.equal(logits(policy), acting)


def test_merging_gives_plain_weights(make_policy: MakePolicy, tmp_path: Path) -> None:
    base = make_policy(1)
    policy = wake(base.with_lora(generator=noise(0)))
    merged = policy.merged()
    torch.testing.assert_close(logits(merged), logits(policy), atol=1e-5, rtol=1e-5)
    assert merged.model.state_dict().keys() == base.model.state_dict().keys()
    assert all(one.requires_grad for one in merged.model.parameters())
    # Without the adapter it is the base again, also on the disk.
    policy.without_adapter().save(tmp_path / "base")
    loaded = Policy.load(tmp_path / "base").model.state_dict()
    assert equal(dict(base.model.state_dict()), dict(loaded))
    again = merged.with_lora(generator=noise(1))
    torch.testing.assert_close(logits(again), logits(merged), atol=1e-5, rtol=1e-5)


def test_plain_peft_reads_a_saved_adapter(make_policy: MakePolicy, tmp_path: Path) -> None:
    make_policy(1).save(tmp_path / "base")
    base = Policy.load(tmp_path / "base")
    policy = wake(base.with_lora(rank=3, generator=noise(0)))
    policy.save(tmp_path / "agent")
    assert {path.name for path in tmp_path.iterdir()} == {"base", "agent"}
    assert not (tmp_path / "agent" / "model.safetensors").exists()
    config = (tmp_path / "agent" / "adapter_config.json").read_text()
    assert str(tmp_path) not in config and json.loads(config)["base_model_name_or_path"] == "base"
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tmp_path / "base"), str(tmp_path / "agent")
    ).eval()
    row = torch.tensor(
        [[*policy.encode_prompt("w1 w2"), *AutoTokenizer.from_pretrained(tmp_path / "agent")("w3 w4").input_ids]]
    )
    with torch.no_grad(), policy.active() as own:
        torch.testing.assert_close(model(input_ids=row).logits, own(input_ids=row).logits, atol=1e-6, rtol=1e-6)
        assert float((base.model(input_ids=row).logits - own(input_ids=row).logits).abs().max()) > 0.1
    read = Policy.load_adapter(tmp_path / "agent", base)
    assert equal(adapter_weights(read), adapter_weights(policy))
    assert torch.equal(logits(read), logits(policy))
    assert {name for name, one in read.model.named_parameters() if one.requires_grad} == adapter_weights(read).keys()
    assert torch.equal(logits(read.without_adapter()), logits(frozen_copy(base)))


def test_saving_an_adapter_again_writes_equal_bytes(make_policy: MakePolicy, tmp_path: Path) -> None:
    policy = wake(make_policy(1).with_lora(generator=noise(0)))
    policy.save(tmp_path / "one")
    policy.without_adapter().copy()
    Policy.load_adapter(tmp_path / "one", make_policy(1)).save(tmp_path / "two")
    policy.save(tmp_path / "one")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_reading_an_adapter_leaves_global_randomness_and_the_base(make_policy: MakePolicy, tmp_path: Path) -> None:
    base = make_policy(1)
    wake(base.with_lora(generator=noise(0))).save(tmp_path / "agent")
    before, state = logits(base), torch.get_rng_state()
    Policy.load_adapter(tmp_path / "agent", base)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(logits(base), before) and all(one.requires_grad for one in base.model.parameters())


def test_what_is_no_adapter_of_this_base_is_named(make_policy: MakePolicy, tmp_path: Path) -> None:
    base = make_policy(1)
    with pytest.raises(ArtifactError, match="No adapter could be read"):
        Policy.load_adapter(tmp_path / "nothing", base)
    folder = tmp_path / "agent"
    base.with_lora(rank=3, generator=noise(0)).save(folder)
    with pytest.raises(ArtifactError, match="do not fit the model"):
        Policy.load_adapter(folder, make_policy(1, key_heads=2))
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"r": 4}))
    with pytest.raises(ArtifactError, match="do not fit the model"):
        Policy.load_adapter(folder, base)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    with pytest.raises(ArtifactError, match="expected LoRA"):
        Policy.load_adapter(folder, base)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ArtifactError, match="No adapter could be read"):
        Policy.load_adapter(folder, base)


def test_unusable_adapters_are_refused(make_policy: MakePolicy) -> None:
    base = make_policy(1)
    with pytest.raises(InvalidInput, match="rank and alpha"):
        base.with_lora(rank=0, generator=noise(0))
    with pytest.raises(InvalidInput, match="No linear layer is called"):
        base.with_lora(targets=["query"], generator=noise(0))
    with pytest.raises(InvalidInput, match="an adapter already"):
        base.with_lora(generator=noise(0)).with_lora(generator=noise(0))


@pytest.mark.parametrize("switched_first", [False, True])
@torch.no_grad()
def test_adapters_switched_in_one_autocast_context_do_not_mix(make_policy: MakePolicy, switched_first: bool) -> None:
    """Autocast remembers the weights it has cast; those of the reference must be the base's, whatever came first."""
    base = make_policy(1, spread=0.2)
    policy = wake(base.with_lora(generator=noise(0)))
    reference = policy.without_adapter()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        untouched = logits(frozen_copy(base))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        alone = logits(policy)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        order = [reference, policy, reference] if switched_first else [policy, reference, policy]
        found = [logits(one) for one in order]
    for one, value in zip(order, found, strict=True):
        assert torch.equal(value, untouched if one is reference else alone)
    assert not torch.equal(untouched, logits(frozen_copy(base)))


def test_a_base_in_bfloat16_carries_adapters_in_float32(make_policy: MakePolicy) -> None:
    base = make_policy(1, spread=0.2)
    exact = wake(base.with_lora(generator=noise(0)))
    half = base.copy()
    half.model.to(torch.bfloat16)
    policy = wake(half.with_lora(generator=noise(0)))
    assert equal(adapter_weights(policy), adapter_weights(exact))
    assert all(value.dtype == torch.float32 for value in adapter_weights(policy).values())
    torch.testing.assert_close(logits(policy), logits(exact), atol=0.1, rtol=0.1)


def run(
    of: World,
    policy: Policy,
    reference: Policy,
    *,
    steps: int,
    group: int = 64,
    bfloat16: bool = False,
    checkpoint: Path | None = None,
    rate: float = 1e-2,
) -> list[StepRecord]:
    """RLOO in an enumerable world."""
    return train(
        policy,
        reference,
        source=of.source(group=group),
        objective=RLOO(),
        regularizer=FixedPenalty(of.beta),
        settings=TrainSettings(steps=steps, learning_rate=rate, checkpoint_every=2, bfloat16=bfloat16),
        seed=3,
        checkpoint=checkpoint,
    )


def test_training_an_adapter_approaches_the_posterior(
    make_policy: MakePolicy, every_completion: EveryCompletion
) -> None:
    """Of 5 seeds: gaps from 0.006 to 0.020 nats, out of 1.15; expected rewards from 0.51 to 0.64, out of -0.55."""
    small = world(every_completion, make_policy=make_policy, seed=1, spread=0.4)
    policy = small.reference.with_lora(rank=2, generator=noise(1))
    run(small, policy, policy.without_adapter(), steps=40, group=256, rate=2e-2)
    print(f"gap {small.posterior_gap(small.reference):.3f} before, {small.posterior_gap(policy):.4f} after")
    print(f"reward {small.expected_reward(small.reference):.3f} before, {small.expected_reward(policy):.3f} after")
    assert small.posterior_gap(policy) < 0.05 < small.posterior_gap(small.reference) / 2
    assert small.expected_reward(policy) > small.expected_reward(small.reference) + 0.8


@pytest.mark.parametrize("bfloat16", [False, True])
def test_the_reference_of_an_adapter_is_as_good_as_an_untouched_copy(
    make_policy: MakePolicy, every_completion: EveryCompletion, bfloat16: bool
) -> None:
    small = world(every_completion, make_policy=make_policy, seed=1, spread=0.4)
    untouched = frozen_copy(small.reference)
    below, beside = (small.reference.with_lora(rank=2, generator=noise(1)) for _ in range(2))
    one = run(small, below, below.without_adapter(), steps=4, bfloat16=bfloat16)
    other = run(small, beside, untouched, steps=4, bfloat16=bfloat16)
    assert equal(adapter_weights(below), adapter_weights(beside))
    assert [record.kl for record in one] == [record.kl for record in other] and one[-1].kl > 1e-3
    assert equal(dict(small.reference.model.state_dict()), dict(untouched.model.state_dict()))
    found = rollout(below.without_adapter(), untouched, ["w2 w1"], group=8, max_new_tokens=2, generator=noise(0))
    assert float(found.kl.abs().max()) < 1e-6


def test_training_an_adapter_resumes_bit_equal(
    make_policy: MakePolicy, every_completion: EveryCompletion, tmp_path: Path
) -> None:
    small = world(every_completion, make_policy=make_policy, seed=1, spread=0.4)

    def fresh() -> Policy:
        return small.reference.with_lora(rank=2, generator=noise(1))

    straight, halved, resumed = fresh(), fresh(), fresh()
    run(small, straight, straight.without_adapter(), steps=5)
    run(small, halved, halved.without_adapter(), steps=3, checkpoint=tmp_path)
    run(small, resumed, resumed.without_adapter(), steps=5, checkpoint=tmp_path)
    assert equal(adapter_weights(straight), adapter_weights(resumed))
    assert not equal(adapter_weights(straight), adapter_weights(halved))
    with pytest.raises(ArtifactError, match="not those of the given model"):
        wider = small.reference.with_lora(rank=3, generator=noise(1))
        run(small, wider, wider.without_adapter(), steps=5, checkpoint=tmp_path)
