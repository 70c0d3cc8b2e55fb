"""A hard budget of nats for every episode, in the exact KL of the distributions that act.

With a the policy's and b the reference's distribution of the next token, and B_t what is left of the budget,

    m_t = alpha_t a + (1 - alpha_t) b,    alpha_t = max{ alpha in [0, 1] : KL(alpha a + (1 - alpha) b || b) <= B_t }
    B_{t+1} = B_t - KL(m_t || b),         B_0 = the budget

so that sum_t KL(m_t || b) <= B_0 along every path, not only on average: this is the architecture of Cohen, Hutter,
Bengio & Russell 2024 ("RL, but don't do anything I wouldn't do", appendix F), with one change. They subtract the
sampled log-ratio log m_t(y_t) / b(y_t) and forgive what is overdrawn; that bounds neither a path nor the mean. The
exact KL does, and by the chain rule it then bounds KL of whole episodes, whatever the observations (Definition 2).

f(alpha) = KL(m || b) is convex and increasing, f(0) = 0. Its inverse is found without gradient; one Newton step with
gradient,

    alpha <- alpha + (B_t - f(alpha; a)) / f'(alpha),    f'(alpha) = sum_v (a(v) - b(v)) log m(v) / b(v),

does not change the value and carries the derivatives of the implicit function in a and in B_t.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from agents.divergence import exact_kl
from agents.limits import AbstractLimit, Acting, mixture
from reward_models.errors import InvalidInput

ROUNDING = 4e-6
"""Share of the budget (and half as many nats) that a token pays beyond its KL: more than float32 can be wrong by."""
FORGOTTEN = 1e-4
"""Share of the budget below which what is left is nothing. alpha grows as the root of what is left, so that behind it
two passes which differ by rounding would act differently, and its gradient has no bound."""
TIGHT = 1e-9
"""How much of what is left the largest share may leave unused, as a part of it."""
LONGEST_SEARCH = 60
"""Evaluations after which the search for a share ends, at the largest that was found to fit; 4 to 8 are usual."""


@final
@dataclass(frozen=True)
class HardBudget(AbstractLimit):
    """No episode is further from the reference than so many nats, whatever the weights are."""

    nats: float = 10.0
    """What the exact KL(acting || reference) of an episode may sum to; positive."""

    def __post_init__(self) -> None:
        if not 0 < self.nats < math.inf:
            raise InvalidInput(f"A budget must be a positive number of nats, got {self.nats}.")

    @property
    def allowance(self) -> float:
        """The budget."""
        return self.nats

    def act(
        self,
        policy: Float[Tensor, "sequences vocabulary"],
        reference: Float[Tensor, "sequences vocabulary"],
        left: Float[Tensor, " sequences"],
    ) -> Acting:
        """The acting distribution: the policy's own while it fits, then once a mixture that spends what is left.

        Behind that, and where the policy gives a token probability that the reference never does, the reference acts.
        """
        toll = ROUNDING * (self.nats + 0.5)
        target = left - toll
        with torch.no_grad():
            share = largest_share(policy, reference, target.masked_fill(target < FORGOTTEN * self.nats, 0.0))
        if torch.is_grad_enabled():
            share = _implicit(share, policy, reference, target)
        acting = mixture(policy, reference, share)
        after = (target - exact_kl(acting, reference)).clamp(min=0.0)
        # A mixture has spent everything; taking the difference would leave rounding, and a gradient of rounding.
        after = torch.where(share < 1, torch.zeros_like(left), after)
        return Acting(log_probabilities=acting, left=torch.where(share <= 0, left, after))


@torch.no_grad()
def largest_share(
    policy: Float[Tensor, "sequences vocabulary"],
    reference: Float[Tensor, "sequences vocabulary"],
    nats: Float[Tensor, " sequences"],
) -> Float[Tensor, " sequences"]:
    """The largest alpha in [0, 1] with KL(alpha a + (1 - alpha) b || b) <= nats, never above it; NaN where KL is.

    Newton's method on the root of KL, which is nearly linear in alpha, inside a bracket that is halved where Newton
    leaves it. In float64; the answer has the type of `policy`, rounded down.
    """
    first, second, nats = (value.double() for value in (policy, reference, nats))
    first, second = torch.log_softmax(first, dim=-1), torch.log_softmax(second, dim=-1)
    whole, _ = _cost(first, second, torch.ones_like(nats))
    low, high = torch.zeros_like(nats), torch.ones_like(nats)
    search = (whole > nats) & (nats > 0) & whole.isfinite()
    # KL is convex and 0 at 0, so this share fits.
    share = torch.where(search, nats / whole, 0.5)
    unfinished = search
    for _ in range(LONGEST_SEARCH):
        # At most tokens either all fits or nothing is left.
        if not bool(unfinished.any()):
            break
        cost, slope = _cost(first, second, share)
        fits = cost <= nats
        low, high = torch.where(fits, share, low), torch.where(fits, high, share)
        unfinished = unfinished & ~(fits & (cost >= nats * (1 - TIGHT)))
        newton = share - 2 * (cost - (cost * nats * (1 - TIGHT / 2)).sqrt()) / slope
        inside = torch.where((newton > low) & (newton < high), newton, (low + high) / 2)
        share = torch.where(unfinished, inside, share)
    found = torch.where(search, low, torch.where(whole <= nats, 1.0, 0.0))
    return _rounded_down(torch.where(whole.isnan(), whole, found), policy.dtype)


def _cost(
    policy: Float64[Tensor, "sequences vocabulary"],
    reference: Float64[Tensor, "sequences vocabulary"],
    share: Float64[Tensor, " sequences"],
) -> tuple[Float64[Tensor, " sequences"], Float64[Tensor, " sequences"]]:
    """f(alpha) and f'(alpha)."""
    acting = mixture(policy, reference, share)
    log_ratio = _log_ratio(acting, reference)
    return (acting.exp() * log_ratio).sum(dim=-1), ((policy.exp() - reference.exp()) * log_ratio).sum(dim=-1)


def _implicit(
    share: Float[Tensor, " sequences"],
    policy: Float[Tensor, "sequences vocabulary"],
    reference: Float[Tensor, "sequences vocabulary"],
    target: Float[Tensor, " sequences"],
) -> Float[Tensor, " sequences"]:
    """The same share with the gradient of the implicit function, where it is neither 0 nor 1."""
    acting = mixture(policy, reference, share)
    slack = target - exact_kl(acting, reference)
    slope = ((policy.exp() - reference.exp()) * _log_ratio(acting, reference)).sum(dim=-1).detach()
    inside = (share > 0) & (share < 1)
    slack = torch.where(inside, slack, torch.zeros_like(slack))
    return share + (slack - slack.detach()) / torch.where(inside, slope, torch.ones_like(slope))


def _log_ratio(acting: Tensor, reference: Tensor) -> Tensor:
    return torch.where(acting.exp() > 0, acting - reference, torch.zeros_like(acting))


def _rounded_down(share: Float64[Tensor, " sequences"], dtype: torch.dtype) -> Float[Tensor, " sequences"]:
    rounded = share.to(dtype)
    below = torch.nextafter(rounded, torch.zeros_like(rounded))
    return torch.where(rounded.double() > share, below, rounded)
