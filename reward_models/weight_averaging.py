"""One model out of several: the average of their weights."""

import copy

import torch

from reward_models.backbone import Backbone
from reward_models.errors import InvalidInput
from reward_models.full_model import FullMembers, FullModel


def averaged(model: FullModel) -> FullModel:
    """A model of one member whose weights are the mean of the members' weights (WARM, Rame et al. 2024):

        phi = (1/K) sum_k phi_k

    with phi_k all weights of member k, its head among them. It scores at the cost of one member and keeps what the
    members agree on; where the score is linear in the weights it is the mean of the members' scores. It has no spread,
    so it does not say what it does not know. Its offset is the mean of the members' offsets: differences of scores are
    those of the averaged weights, while the mean over the training completions is 0 only as far as scores are linear.

    Raises InvalidInput unless all members were started from the same weights, head included: weights that came from
    different starts are not comparable one by one, and their mean is no model.
    """
    trained = model.trained
    if len(set(trained.starts)) != 1:
        raise InvalidInput(
            f"the {model.members} members were started from {len(set(trained.starts))} different weights, so their "
            "average would mean nothing; fit them with shared_head=True"
        )
    merged = copy.deepcopy(trained.backbones[0].model)
    states = [backbone.model.state_dict() for backbone in trained.backbones]
    with torch.no_grad():
        for name, value in merged.state_dict().items():
            if value.is_floating_point():
                mean = torch.stack([state[name].double() for state in states]).mean(dim=0)
                value.copy_(mean.to(value.dtype))
    first = trained.backbones[0]
    members = FullMembers(
        backbones=(Backbone(merged, first.tokenizer, first.max_length),),
        heads=trained.heads.mean(dim=0, keepdim=True),
        starts=trained.starts[:1],
        pooling=trained.pooling,
    )
    return FullModel(members, model.offsets.mean(dim=0, keepdim=True), model.temperature)
