"""A trained member in the ecosystem's formats: a PEFT adapter with its head, or a sequence classifier with one output.

    (w . h - offset) / temperature  =  W . h + c,   W = w / temperature,   c = -offset / temperature

W is the head that is saved. The constant c goes where `sequence_classifier` finds room for it; a normalisation that has
to hold it is saved beside the head. Where there is no room, scores are less by c, the same for every text, and the
export says so. Members that read the mean of the states, and families whose classifier is more than a linear layer,
cannot be expressed: they are saved in our own folder.
"""

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from reward_models.backbone import batch, model_inputs
from reward_models.errors import ArtifactError, InvalidInput
from reward_models.export import USAGE, Exported
from reward_models.folders import whole_folder
from reward_models.full_model import FullModel
from reward_models.lora_model import LoraModel
from reward_models.model_card import CardFacts, base_name, write_model_card
from reward_models.sequence_classifier import (
    check_equal,
    classifier_tokenizer,
    inexpressible,
    make_classifier,
    place_constant,
)

ADAPTER_USAGE = """
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
base = AutoModelForSequenceClassification.from_pretrained(
    BASE_MODEL, num_labels=1, pad_token_id=tokenizer.pad_token_id, dtype="float32"
)
model = PeftModel.from_pretrained(base, ".").eval()
batch = tokenizer([prompt + completion], padding=True, truncation=True, return_tensors="pt")
with torch.no_grad():
    score = model(**batch).logits[:, 0]
"""
PLAIN = (
    "Prompt and completion are joined as they are. Chat messages go through the tokenizer's own template: "
    "`tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False)`."
)
CHAT = (
    "It was fitted on chats: a prompt is what a user says, a completion what the assistant answers, both in the "
    "tokenizer's own template. Scores of texts that are joined without it mean nothing."
)
SPREAD = "One member says nothing about how sure the ensemble is; the spread between members does."
_JOINED = "batch = tokenizer([prompt + completion], "
_TEMPLATED = """messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
text = tokenizer.apply_chat_template(messages, tokenize=False)
batch = tokenizer([text], add_special_tokens=False, """


def export_full_member(
    model: FullModel, member: int, folder: Path, *, figures: Mapping[str, object] | None = None, chat: bool = False
) -> Exported:
    """Write one member as a sequence classifier with one output, its tokenizer and a model card.

    The classifier's scores are compared with the member's before anything takes the folder's name. `figures` are what
    the card reports, `chat` is whether it was fitted on messages. Raises InvalidInput for no such member or one that no
    classifier can express.
    """
    weight, constant = _head(model, member)
    backbone = model.trained.backbones[member]
    tokenizer = classifier_tokenizer(backbone.tokenizer, max_length=backbone.max_length)
    classifier = make_classifier(backbone.model, tokenizer, weight)
    left = 0.0 if place_constant(classifier, weight, constant) else constant
    check_equal(classifier, backbone.model, weight, constant, left=left, length=backbone.max_length)
    classifier.config.score_constant = left
    base = base_name(str(backbone.model.name_or_path))
    with whole_folder(Path(folder), what="the classifier") as partial:
        classifier.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        summary = f"member {member} of {model.members}, each trained as a whole from {base or 'one backbone'}"
        write_model_card(partial, _facts(summary, base=base, usage=USAGE, left=left, figures=figures or {}, chat=chat))
    return Exported(folder=Path(folder), constant=left)


def export_lora_member(
    model: LoraModel, member: int, folder: Path, *, figures: Mapping[str, object] | None = None, chat: bool = False
) -> Exported:
    """Write one member as a PEFT adapter of a sequence classifier with one output: adapter, head, tokenizer, card.

    The base model is named and not copied. The adapter is read back and its scores compared with the member's before
    anything takes the folder's name. `figures` are what the card reports, `chat` is whether it was fitted on messages.
    Raises InvalidInput for no such member or one that no classifier can express.
    """
    weight, constant = _head(model, member)
    backbone = model.trained.backbone
    tokenizer = adapter_tokenizer(backbone.tokenizer, max_length=backbone.max_length)
    classifier = make_classifier(backbone.model, tokenizer, weight)
    plain = copy.deepcopy(classifier)
    left = 0.0 if place_constant(classifier, weight, constant) else constant
    adapted = _with_adapter(classifier, model, member, saved=_changed(classifier, plain))
    base = base_name(str(backbone.model.name_or_path))
    with whole_folder(Path(folder), what="the adapter") as partial:
        # "auto" would ask the Hub whether the vocabulary was changed; it was not.
        adapted.save_pretrained(str(partial), save_embedding_layers=False)
        tokenizer.save_pretrained(partial)
        usage = ADAPTER_USAGE.replace("BASE_MODEL", repr(base))
        summary = f"member {member} of {model.members} adapters on {base or 'a backbone made in memory'}"
        write_model_card(
            partial,
            _facts(summary, base=base, usage=usage, left=left, figures=figures or {}, chat=chat, library="peft"),
        )
        read = PeftModel.from_pretrained(plain, str(partial)).eval()
        _check_adapter(read, int(tokenizer.pad_token_id), model, member, left=left)
    return Exported(folder=Path(folder), constant=left)


def adapter_tokenizer(tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> PreTrainedTokenizerBase:
    """A copy that pads on the right with a token that the base model has, if possible one that no text ends with."""
    own = copy.deepcopy(tokenizer)
    own.padding_side, own.truncation_side, own.model_max_length = "right", "left", max_length
    candidates = (own.pad_token, own.unk_token, own.bos_token)
    usable = [token for token in candidates if token is not None and token != own.eos_token]
    own.pad_token = usable[0] if usable else own.eos_token
    if own.pad_token is None:
        raise inexpressible("its tokenizer has no special token, so none to pad with")
    return own


def _head(model: FullModel | LoraModel, member: int) -> tuple[Float[Tensor, " width"], float]:
    """W and c of a member, in double precision."""
    if not 0 <= member < model.members:
        raise InvalidInput(f"member is {member}; give a number from 0 to {model.members - 1}")
    if model.trained.pooling != "last":
        raise inexpressible("its head reads the mean of the states, not the last token's")
    weight = model.trained.heads[member].detach().double().cpu() / model.temperature
    return weight, -float(model.offsets[member]) / model.temperature


def _changed(classifier: PreTrainedModel, plain: PreTrainedModel) -> list[str]:
    """Names of the modules that the constant went into, beside the head."""
    before = plain.state_dict()
    names = [name for name, value in classifier.state_dict().items() if not torch.equal(value, before[name])]
    return sorted({name.rsplit(".", 1)[0] for name in names} - {"score"})


def _with_adapter(classifier: PreTrainedModel, model: LoraModel, member: int, *, saved: list[str]) -> PeftModel:
    """The classifier with the member's adapter in it, as peft has it."""
    adapters, prefix = model.trained.adapters, classifier.base_model_prefix
    names = {name: f"{prefix}.{name}" for name in adapters.down}
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=adapters.rank,
        lora_alpha=adapters.alpha,
        target_modules=list(names.values()),
        modules_to_save=["score", *saved],
        fan_in_fan_out=any(isinstance(classifier.get_submodule(name), Conv1D) for name in names.values()),
        inference_mode=True,
    )
    adapted = get_peft_model(classifier, config)
    weights = dict(adapted.named_parameters())
    with torch.no_grad():
        for name, full in names.items():
            weights[f"base_model.model.{full}.lora_A.default.weight"].copy_(adapters.down[name][member])
            weights[f"base_model.model.{full}.lora_B.default.weight"].copy_(adapters.up[name][member])
    return adapted


@torch.no_grad()
def _check_adapter(adapted: PeftModel, pad: int, model: LoraModel, member: int, *, left: float) -> None:
    """Compare what was read back with the member on random tokens; ArtifactError if they differ."""
    trunk, length = model.trained.backbone.model, model.trained.backbone.max_length
    words = [token for token in range(trunk.config.get_text_config().vocab_size) if token != pad]
    generator = torch.Generator().manual_seed(0)
    drawn = [
        torch.randint(len(words), (size,), generator=generator) for size in (1, 2, min(length, 7), min(length, 12))
    ]
    rows = [[words[place] for place in places.tolist()] for places in drawn]
    tokens, mask = batch(rows, pad_id=pad, device=trunk.device)
    found = adapted(**model_inputs(trunk, tokens, mask)).logits[:, 0].float().cpu() + left
    expected = (model.trained.raw_scores(rows).float().cpu()[member] - model.offsets[member]) / model.temperature
    size = 1.0 + float(expected.abs().max()) + abs(left)
    if not bool(((found - expected).abs() <= torch.finfo(trunk.dtype).eps ** 0.5 * size).all()):
        raise ArtifactError(
            f"the adapter read back scores {found.tolist()} where the member scores {expected.tolist()}; save the "
            "model in its documented folder: model.save"
        )


def _facts(
    summary: str,
    *,
    base: str,
    usage: str,
    left: float,
    figures: Mapping[str, object],
    chat: bool,
    library: str = "transformers",
) -> CardFacts:
    offset = (
        f"Add {left!r} to get the scores of the ensemble itself: this family's head has no constant term. Differences "
        "of scores need nothing added."
    )
    return CardFacts(
        title="Reward model",
        summary=f"A reward model fitted to pairwise preferences: {summary}.",
        base_model=base,
        usage=usage.replace(_JOINED, _TEMPLATED) if chat else usage,
        library="peft" if library == "peft" else "transformers",
        notes=(CHAT if chat else PLAIN, SPREAD, *((offset,) if left else ())),
        figures=figures,
    )
