"""The stacked pass against plain peft models, one for each member."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel

from reward_models.backbone import Backbone, Encoded, batch, last_state, mean_state, model_inputs
from reward_models.errors import InvalidInput
from reward_models.lora_model import LoraMembers
from reward_models.losses import bradley_terry
from reward_models.pairs import EncodedPairs
from reward_models.stacked_adapters import AdapterSettings, StackedAdapters, adapted_names
from reward_models.trunk_states import TrunkStates, layer_list

# peft asks transformers for a property by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

FAMILIES = ["llama", "qwen2", "gpt2", "bert", "roberta"]
SETTINGS = AdapterSettings(members=3, rank=2, alpha=6)


def started(backbone: Backbone, settings: AdapterSettings = SETTINGS, *, pooling: str = "last") -> LoraMembers:
    """Members whose adapters change something: B is not zero."""
    generator = torch.Generator().manual_seed(1)
    members = LoraMembers.start(
        backbone, settings=settings, generator=generator, pooling="mean" if pooling == "mean" else "last"
    )
    for up in members.adapters.up.values():
        up.copy_(0.3 * torch.randn(up.shape, generator=generator))
    return members


def texts(backbone: Backbone) -> tuple[tuple[int, ...], ...]:
    words = ["a", "a long text, and more", "short one", "the same", "the same again?", "six"]
    return backbone.encode([""] * len(words), words).tokens


def plain_peft(members: LoraMembers, k: int) -> PeftModel:
    """What peft makes of adapter k on a copy of the trunk."""
    adapters = members.adapters
    trunk: PreTrainedModel = copy.deepcopy(members.backbone.model)
    config = LoraConfig(
        r=adapters.rank,
        lora_alpha=adapters.alpha,
        target_modules=list(adapters.down),
        fan_in_fan_out=trunk.config.model_type == "gpt2",
    )
    model = get_peft_model(trunk, config)
    state = dict(model.named_parameters())
    with torch.no_grad():
        for name in adapters.down:
            state[f"base_model.model.{name}.lora_A.default.weight"].copy_(adapters.down[name][k])
            state[f"base_model.model.{name}.lora_B.default.weight"].copy_(adapters.up[name][k])
    return model.eval()


def plain_scores(model: PeftModel, head: Tensor, tokens: tuple[tuple[int, ...], ...], *, pooling: str) -> Tensor:
    ids, mask = batch(tokens, pad_id=1)
    hidden = model(**model_inputs(model.base_model.model, ids, mask)).last_hidden_state
    return (last_state(hidden, mask) if pooling == "last" else mean_state(hidden, mask)) @ head


@pytest.fixture(params=FAMILIES)
def backbone(request: pytest.FixtureRequest, tiny_backbone: Callable[..., Backbone]) -> Iterator[Backbone]:
    return tiny_backbone(request.param)


@pytest.mark.parametrize("layers", [None, (0,), (0, 1)])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_member_k_of_the_stacked_pass_is_peft_with_adapter_k(
    backbone: Backbone, layers: tuple[int, ...] | None, pooling: str
) -> None:
    members = started(backbone, replace(SETTINGS, layers=layers), pooling=pooling)
    for tokens in (texts(backbone), texts(backbone)[:1], texts(backbone)[:2]):
        found = members.raw_scores(tokens)
        for k in range(3):
            expected = plain_scores(plain_peft(members, k), members.heads[k], tokens, pooling=pooling)
            torch.testing.assert_close(found[k], expected, rtol=1e-5, atol=1e-5)
    # Members differ, or the comparison would say little.
    assert (found[0] - found[1]).abs().min().item() > 1e-3


def test_gradients_of_member_k_are_those_of_peft_trained_alone(backbone: Backbone) -> None:
    members = started(backbone, replace(SETTINGS, layers=(0, 1)))
    tokens, labels, weights = texts(backbone), torch.tensor([1.0, 0.0, 0.5]), torch.tensor([[1.0, 2.0, 0.0]] * 3)
    weights = weights * torch.tensor([[1.0], [0.5], [2.0]])
    for part in members.parameters().values():
        part.requires_grad_(True)
    scores = members.raw_scores(tokens)
    (weights * bradley_terry(scores[:, :3], scores[:, 3:], labels)).mean(dim=1).sum().backward()
    for k in range(3):
        head = members.heads[k].detach().clone().requires_grad_(True)
        model = plain_peft(members, k)
        alone = plain_scores(model, head, tokens, pooling="last")
        (weights[k] * bradley_terry(alone[:3], alone[3:], labels)).mean().backward()
        state = dict(model.named_parameters())
        pairs = [(members.heads, head.grad)]
        for name in members.adapters.down:
            prefix = f"base_model.model.{name}"
            pairs.append((members.adapters.down[name], state[f"{prefix}.lora_A.default.weight"].grad))
            pairs.append((members.adapters.up[name], state[f"{prefix}.lora_B.default.weight"].grad))
        for stacked, expected in pairs:
            assert stacked.grad is not None and expected is not None
            torch.testing.assert_close(stacked.grad[k], expected, rtol=1e-4, atol=1e-5)
            assert expected.abs().max().item() > 0.0


def test_one_member_has_no_gradient_from_the_loss_of_another(backbone: Backbone) -> None:
    members = started(backbone)
    for part in members.parameters().values():
        part.requires_grad_(True)
    members.raw_scores(texts(backbone))[1].square().sum().backward()
    for part in members.parameters().values():
        assert part.grad is not None
        assert part.grad[[0, 2]].abs().max().item() == 0.0
        assert part.grad[1].abs().max().item() > 0.0


def test_a_score_does_not_depend_on_its_neighbours_or_on_their_number(backbone: Backbone) -> None:
    members, tokens = started(backbone), texts(backbone)
    together = members.raw_scores(tokens)
    alone = torch.cat([members.raw_scores([row]) for row in tokens], dim=1)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_the_layers_below_run_once_for_all_members(tiny_backbone: Callable[..., Backbone]) -> None:
    backbone = tiny_backbone("llama")
    seen: dict[int, int] = {}
    blocks = layer_list(backbone.model)[1]
    handles = [
        block.register_forward_hook(lambda module, args, output, index=index: seen.update({index: len(output)}))
        for index, block in enumerate(blocks)
    ]
    started(backbone).raw_scores(texts(backbone))
    for handle in handles:
        handle.remove()
    # Two layers, of which the upper quarter, at least one, is adapted: 6 sequences below, 3 x 6 above.
    assert seen == {0: 6, 1: 18}


@pytest.mark.parametrize("limit", [0, 2000, 10**9])
def test_known_states_of_the_lower_layers_give_the_same_scores_and_gradients(backbone: Backbone, limit: int) -> None:
    """None stored, some stored and the rest computed, all stored."""
    members, tokens = started(backbone), texts(backbone)
    states = TrunkStates(backbone, 1)
    sides = [Encoded(tokens[:3], 0), Encoded(tokens[3:], 0)]
    pairs = EncodedPairs(*sides, labels=torch.ones(3), weights=torch.ones(3))
    states.keep(pairs, limit=limit, batch_size=2)
    # 16 numbers of 4 bytes a token.
    assert (limit, len(states)) in [(0, 0), (2000, len(states)), (10**9, 6)]
    assert limit != 2000 or 0 < len(states) < 6
    found, expected = replace(members, states=states).raw_scores(tokens), members.raw_scores(tokens)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    gradients = []
    for scoring in (members, replace(members, states=states)):
        parts = [part.requires_grad_(True) for part in scoring.parameters().values()]
        gradients.append(torch.autograd.grad(scoring.raw_scores(tokens).square().sum(), parts))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    # The trunk itself runs whole again.
    ids, mask = batch(tokens, pad_id=1)
    plain = backbone.model(**model_inputs(backbone.model, ids, mask)).last_hidden_state
    fresh = copy.deepcopy(backbone.model)(**model_inputs(backbone.model, ids, mask)).last_hidden_state
    assert torch.equal(plain, fresh)


def test_stored_texts_do_not_run_through_the_lower_layers(tiny_backbone: Callable[..., Backbone]) -> None:
    backbone = tiny_backbone("llama")
    tokens = texts(backbone)
    states = TrunkStates(backbone, 1)
    side = Encoded(tokens[:2], 0)
    states.keep(EncodedPairs(side, side, torch.ones(2), torch.ones(2)), limit=10**9, batch_size=2)
    assert len(states) == 2
    rows: list[int] = []
    layer = layer_list(backbone.model)[1][0]
    handle = layer.self_attn.register_forward_hook(lambda module, args, output: rows.append(len(output[0])))
    members = replace(started(backbone), states=states)
    members.raw_scores(tokens[:2])
    assert rows == []
    # Twice the same text and another one, neither stored: two rows.
    members.raw_scores((*tokens[:2], tokens[2], tokens[2], tokens[3]))
    handle.remove()
    assert rows == [2]


def test_the_trunk_is_as_it_was_after_a_pass_and_after_a_failure(tiny_backbone: Callable[..., Backbone]) -> None:
    backbone = tiny_backbone("llama")
    ids, mask = batch(texts(backbone), pad_id=1)
    before = backbone.model(**model_inputs(backbone.model, ids, mask)).last_hidden_state
    members = started(backbone)
    members.raw_scores(texts(backbone))
    with pytest.raises(IndexError):
        members.raw_scores([[10_000]])
    assert torch.equal(backbone.model(**model_inputs(backbone.model, ids, mask)).last_hidden_state, before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in backbone.model.modules())


def test_adapters_start_as_peft_starts_them(tiny_backbone: Callable[..., Backbone]) -> None:
    """B zero, so that nothing is changed; A uniform within 1/sqrt(in), of deviation 1/sqrt(3 in); heads differ."""
    backbone = tiny_backbone("llama")
    generator = torch.Generator().manual_seed(0)
    settings = AdapterSettings(members=8, rank=16)
    members = LoraMembers.start(backbone, settings=settings, generator=generator)
    assert all(not up.any() for up in members.adapters.up.values())
    down = torch.cat([part.flatten() for part in members.adapters.down.values()])
    assert down.abs().max().item() <= 0.25
    # 4,096 uniform numbers: the deviation is known to about 1%.
    assert down.std().item() == pytest.approx(0.25 / 3.0**0.5, rel=0.05)
    assert len({tuple(head.tolist()) for head in members.heads}) == 8
    ids, mask = batch(texts(backbone), pad_id=1)
    plain = backbone.model(**model_inputs(backbone.model, ids, mask)).last_hidden_state
    for hidden in members.adapters.hidden(backbone.model, ids, mask):
        torch.testing.assert_close(hidden, plain, rtol=1e-5, atol=1e-6)


def test_what_is_adapted_can_be_named(tiny_model: Callable[..., PreTrainedModel]) -> None:
    llama, gpt2 = tiny_model("llama"), tiny_model("gpt2")
    assert adapted_names(llama) == ("layers.1.self_attn.q_proj", "layers.1.self_attn.v_proj")
    assert adapted_names(gpt2, layers=(0,)) == ("h.0.attn.c_attn",)
    assert adapted_names(llama, layers=(1, 0), targets=["down_proj"]) == (
        "layers.0.mlp.down_proj",
        "layers.1.mlp.down_proj",
    )
    with pytest.raises(InvalidInput, match="has 2; give some of 0 to 1"):
        adapted_names(llama, layers=(2,))
    with pytest.raises(InvalidInput, match="is called"):
        adapted_names(llama, targets=["query"])
    with pytest.raises(InvalidInput, match="at least 1"):
        AdapterSettings(rank=0)


def test_parts_that_do_not_fit_are_refused() -> None:
    down, up = {"a": torch.zeros(2, 3, 4)}, {"a": torch.zeros(2, 5, 3)}
    assert (StackedAdapters(down=down, up=up, alpha=1).members, StackedAdapters(down, up, 1).rank) == (2, 3)
    for wrong in ({}, {"b": up["a"]}, {**up, "b": up["a"]}):
        with pytest.raises(InvalidInput, match="the same layers"):
            StackedAdapters(down=down, up=wrong, alpha=1)
