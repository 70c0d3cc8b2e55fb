"""A trunk with a linear head as the ecosystem's one-output sequence classifier, checked against what it stands for.

A classifier knows padding by its token, and reads the state of the last token that is another one. So the padding token
must be one that no text ends with: where it is also the end-of-sequence token, the tokenizer gets one of its own.
"""

import copy
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from reward_models.backbone import batch, hidden_states, last_state, model_inputs
from reward_models.errors import ArtifactError, InvalidInput
from reward_models.loading import load_tokenizer


def classifier_tokenizer(tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> PreTrainedTokenizerBase:
    """A copy that pads on the right with a token of its own, and truncates from the left as a backbone does."""
    own = copy.deepcopy(tokenizer)
    others = {str(value) for name, value in own.special_tokens_map.items() if name != "pad_token"}
    if own.pad_token is None or own.pad_token in others:
        known = own.get_vocab()
        candidates = ("<|pad|>", *(f"<|pad_{number}|>" for number in range(2, len(known) + 3)))
        own.add_special_tokens({"pad_token": next(name for name in candidates if name not in known)})
    own.padding_side, own.truncation_side, own.model_max_length = "right", "left", max_length
    # What a tokenizer saves is what it was made with.
    own.init_kwargs.update(padding_side="right", truncation_side="left", model_max_length=max_length)
    return own


def make_classifier(
    trunk: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, weight: Float[Tensor, " width"]
) -> PreTrainedModel:
    """The family's sequence classifier with a copy of the trunk, one output with this weight, and the padding token.

    Raises InvalidInput if the family has none, or one that is more than a linear layer over the last token's state.
    """
    config = copy.deepcopy(trunk.config)
    config.num_labels = 1
    try:
        classifier = AutoModelForSequenceClassification.from_config(config, dtype=trunk.dtype)
    except ValueError as error:
        raise inexpressible(f"transformers has no sequence classifier for {type(trunk).__name__}") from error
    if not isinstance(classifier, PreTrainedModel):
        raise inexpressible(f"{type(classifier).__name__} is no model of transformers")
    head, own = getattr(classifier, "score", None), classifier.base_model
    if not isinstance(head, torch.nn.Linear) or head.weight.shape != (1, len(weight)) or type(own) is not type(trunk):
        raise inexpressible(f"{type(classifier).__name__} is more than a linear layer over the last token's state")
    own.load_state_dict(trunk.state_dict())
    with torch.no_grad():
        head.weight.copy_(weight)
        if head.bias is not None:
            head.bias.zero_()
    _make_room(classifier, int(tokenizer.pad_token_id))
    for part in (classifier.config, classifier.config.get_text_config()):
        part.pad_token_id = int(tokenizer.pad_token_id)
    torch.nn.Module.to(classifier, trunk.device)
    classifier.eval()
    return classifier


def _make_room(classifier: PreTrainedModel, token: int) -> None:
    """Give a new token a row of zeros among the embeddings, unless there is a row to spare."""
    rows = len(_embeddings(classifier))
    if token < rows:
        return
    classifier.resize_token_embeddings(token + 1, mean_resizing=False)
    with torch.no_grad():
        _embeddings(classifier)[rows:].zero_()


def _embeddings(model: PreTrainedModel) -> Tensor:
    weight = model.get_input_embeddings().weight
    if not isinstance(weight, Tensor):
        raise inexpressible(f"{type(model).__name__} has no matrix of embeddings")
    return weight


def place_constant(classifier: PreTrainedModel, weight: Float[Tensor, " width"], constant: float) -> bool:
    """Add a constant to every score, through the head's bias or that of the last normalisation; False if neither is."""
    bias, norm = getattr(classifier.score, "bias", None), _last_norm(classifier.base_model)
    with torch.no_grad():
        if isinstance(bias, Tensor):
            bias.add_(constant)
            return True
        if norm is None or not bool(weight.any()):
            return False
        step = constant * weight / (weight @ weight)
        norm.bias.copy_(norm.bias.double() + step.to(norm.bias.device))
    return True


def _last_norm(trunk: torch.nn.Module) -> torch.nn.LayerNorm | None:
    """The normalisation with a bias whose output is the trunk's last hidden state, if there is one."""
    outputs: list[tuple[torch.nn.LayerNorm, Tensor]] = []
    hooks = [
        module.register_forward_hook(lambda module, _, output: outputs.append((module, output)))
        for module in trunk.modules()
        if isinstance(module, torch.nn.LayerNorm) and module.bias is not None
    ]
    tokens, mask = batch([[0, 0]], pad_id=0, device=next(trunk.parameters()).device)
    with torch.no_grad():
        last = hidden_states(trunk, tokens, mask)
    for hook in hooks:
        hook.remove()
    found = [module for module, output in outputs if torch.equal(output.reshape(last.shape), last)]
    return found[0] if len(found) == 1 else None


@torch.no_grad()
def check_equal(
    classifier: PreTrainedModel,
    trunk: PreTrainedModel,
    weight: Float[Tensor, " width"],
    constant: float,
    *,
    left: float,
    length: int,
) -> None:
    """Compare both on random tokens of unequal lengths, padded with the padding token; ArtifactError if they differ."""
    pad = int(classifier.config.get_text_config().pad_token_id)
    words = [token for token in range(len(_embeddings(trunk))) if token != pad]
    generator = torch.Generator().manual_seed(0)
    rows = [
        [words[place] for place in torch.randint(len(words), (size,), generator=generator).tolist()]
        for size in (1, 2, min(length, 7), min(length, 12))
    ]
    tokens, mask = batch(rows, pad_id=pad, device=trunk.device)
    # Their own trunk reads the padding as token 0: the new token is unknown to it, and the mask hides both.
    states = last_state(hidden_states(trunk, tokens.masked_fill(~mask, 0), mask), mask).double().cpu()
    expected = states @ weight + constant
    found = classifier(**model_inputs(classifier, tokens, mask)).logits[:, 0].double().cpu() + left
    # Rounding grows with the terms of the sum, which can be larger than the sum.
    size = 1.0 + float((states.abs() @ weight.abs()).max()) + abs(constant)
    if not bool(((found - expected).abs() <= torch.finfo(trunk.dtype).eps ** 0.5 * size).all()):
        raise ArtifactError(
            f"{type(classifier).__name__} does not score as the last token's state with a linear head does "
            f"({found.tolist()} for {expected.tolist()}); save the model in its documented folder: model.save"
        )


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Compare with what a fresh process reads from the folder that holds this tokenizer and its model's config.

    `AutoTokenizer` goes by the family of the model: beside some, a tokenizer of another make is read as the family's
    own, without a word. Raises ArtifactError if tokens differ.
    """
    loaded = load_tokenizer(str(folder))
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(tokenizer), (8, 12), generator=generator).tolist()
    for text in ("The sea is deep, and it's cold: 1 + 1 = 2.\n", *(str(tokenizer.decode(row)) for row in drawn)):
        here, there = (list(one(text, verbose=False)["input_ids"]) for one in (tokenizer, loaded))
        if here != there:
            raise ArtifactError(
                f"AutoTokenizer reads this {type(tokenizer).__name__} back as a {type(loaded).__name__} with other "
                f"tokens ({there[:6]} for {here[:6]}), so no other program would give these scores; use the tokenizer "
                "of the model's family, or save the model in its documented folder: model.save"
            )


def inexpressible(why: str) -> InvalidInput:
    """The error for what no classifier can express; it names the way out."""
    return InvalidInput(
        f"this member cannot be a sequence classifier: {why}; save the model in its documented folder with "
        "model.save(folder), which reward_models.load_reward_model reads"
    )
