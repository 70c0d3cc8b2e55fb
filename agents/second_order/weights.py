"""All weights in training as one flat vector, in the order of `Learner.parameters`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from agents.learner import Learner
from reward_models.errors import NonFinite


def flat_gradient(
    value: Float[Tensor, ""], parameters: Sequence[Tensor], *, create_graph: bool = False, retain_graph: bool = True
) -> Float[Tensor, " width"]:
    """The gradient of a value; 0 for weights that it does not depend on."""
    found = torch.autograd.grad(
        value,
        parameters,
        create_graph=create_graph,
        retain_graph=retain_graph or create_graph,
        allow_unused=True,
        materialize_grads=True,
    )
    return torch.cat([gradient.flatten() for gradient in found])


def weights_of(learner: Learner) -> Float[Tensor, " width"]:
    """A copy of the weights."""
    return torch.cat([parameter.detach().flatten() for parameter in learner.parameters])


@torch.no_grad()
def set_weights(learner: Learner, weights: Float[Tensor, " width"]) -> None:
    """Put weights into place and forget what was computed with others. Raises `NonFinite`, and changes none, if any is.

    What the optimiser knows of its past steps is neither used nor changed.
    """
    if not bool(weights.isfinite().all()):
        raise NonFinite("the step would make weights NaN or infinite; lower max_kl or raise the damping.")
    begin = 0
    for parameter in learner.parameters:
        part = weights[begin : begin + parameter.numel()]
        parameter.copy_(part.view_as(parameter))
        begin += parameter.numel()
    learner.forget()


@contextmanager
def twice_differentiable(learner: Learner) -> Iterator[None]:
    """Passes inside have second derivatives and are computed in float32, whatever the precision of the training.

    The fast attention kernels have a first derivative only; the plain one, of products and a softmax, has all of them.
    A prefill that the learner still keeps is dropped, as it was not computed in this way.
    """
    bfloat16, learner.bfloat16 = learner.bfloat16, False
    learner.forget()
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        learner.bfloat16 = bfloat16
