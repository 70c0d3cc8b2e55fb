"""A member as the ecosystem's one-output sequence classifier, which plain `transformers` scores with.

Such a classifier reads the last hidden state of the last token that is not padding, through one linear layer. A head
over the last token's state is exactly that: its standardisation and temperature fold into weight and constant,

    w . (h - mean) / scale / temperature  =  W . h + c,   W = w / (scale temperature),   c = -W . mean

and the mean of the members is one more such head. The classifiers of most families have no constant term. Where the
last thing that the trunk does is a normalisation with a bias, c goes in there, as a step along W of that bias; where
it is not (the root-mean-square normalisation of Llama, Qwen and their kin), the classifier's scores are less by c, the
same for every text, and no difference of scores changes. The export states c.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from reward_models.ensemble import Ensemble
from reward_models.errors import InvalidInput
from reward_models.folders import whole_folder
from reward_models.heads_model import FeaturesModel, HeadsModel
from reward_models.model_card import CardFacts, base_name, write_model_card
from reward_models.sequence_classifier import (
    check_equal,
    check_tokenizer,
    classifier_tokenizer,
    inexpressible,
    make_classifier,
    place_constant,
)

Member = int | Literal["mean"]
"""A member by its number, or the mean of all."""
USAGE = """
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = AutoModelForSequenceClassification.from_pretrained(".")
batch = tokenizer([prompt + completion], padding=True, truncation=True, return_tensors="pt")
with torch.no_grad():
    score = model(**batch).logits[:, 0]
"""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export wrote."""

    folder: Path
    """A Hugging Face folder: weights, config, tokenizer, model card."""
    constant: float
    """What to add to the classifier's score to get the member's; 0 where they are equal."""


def export_member(
    model: FeaturesModel,
    member: Member,
    folder: Path,
    *,
    figures: Mapping[str, object] | None = None,
) -> Exported:
    """Write one member, or the mean of all, as a sequence classifier with one output.

    Before anything takes the folder's name, the classifier's scores are compared with the member's. `figures` are what
    the model card reports. Raises InvalidInput where a classifier cannot express the features, and names what can;
    ArtifactError where the family's classifier does not do what it is expected to.
    """
    if not isinstance(model, HeadsModel) or model.pooling != "last":
        raise inexpressible("its features are not the last token's hidden state alone")
    weight, constant = linear_head(model.ensemble, member)
    tokenizer = classifier_tokenizer(model.backbone.tokenizer, max_length=model.backbone.max_length)
    classifier = make_classifier(model.backbone.model, tokenizer, weight)
    left = 0.0 if place_constant(classifier, weight, constant) else constant
    check_equal(classifier, model.backbone.model, weight, constant, left=left, length=model.backbone.max_length)
    classifier.config.score_constant = left
    with whole_folder(Path(folder), what="the classifier") as partial:
        classifier.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        check_tokenizer(tokenizer, partial)
        write_model_card(partial, _facts(model, member, left, figures or {}))
    return Exported(folder=Path(folder), constant=left)


def linear_head(ensemble: Ensemble, member: Member) -> tuple[Float[Tensor, " width"], float]:
    """W and c of a member, or of the members' mean, in double precision; InvalidInput if there is no such member."""
    if member != "mean" and not 0 <= member < ensemble.members:
        raise InvalidInput(f"member is {member}; give 'mean' or a number from 0 to {ensemble.members - 1}")
    weights = ensemble.weights.double()
    chosen = weights.mean(dim=0) if member == "mean" else weights[member]
    folded = chosen / ensemble.feature_scale.double() / ensemble.temperature
    return folded, -float(folded @ ensemble.feature_mean.double())


def _facts(model: HeadsModel, member: Member, left: float, figures: Mapping[str, object]) -> CardFacts:
    base = base_name(str(model.backbone.model.name_or_path))
    which = "the mean" if member == "mean" else f"member {member}"
    offset = (
        f"Add {left!r} (`score_constant` in config.json) to get the scores of the ensemble itself: this family's head "
        "has no constant term. Differences of scores need nothing added."
    )
    placed = (
        "The weights are those of the base model, but for one: the bias of the last layer that has one also holds the "
        "constant term of the ensemble."
    )
    return CardFacts(
        title="Reward model",
        summary=f"A reward model fitted to pairwise preferences: {which} of an ensemble of {model.members} linear "
        f"heads over the last token's hidden state of {base or 'a backbone made in memory'}.",
        base_model=base,
        usage=USAGE,
        notes=(
            "Prompt and completion are joined as they are. Chat messages go through the tokenizer's own template: "
            "`tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False)`.",
            "One member says nothing about how sure the ensemble is; the spread between members does.",
            offset if left else placed,
        ),
        figures=figures,
    )
