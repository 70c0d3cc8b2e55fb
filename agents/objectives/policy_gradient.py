"""The gradient of expected reward under an exact KL penalty: what RLOO, REINFORCE and the actor-critic share.

We maximise, over completions y = y_1 .. y_T of a prompt,

    J = E_{y ~ pi}[ r(y) - beta sum_t KL_t ],    KL_t = KL(pi(. | y_<t) || pi_0(. | y_<t)), summed over the vocabulary.

KL_t is a function of the prefix y_<t and of the weights, so that

    grad J = E[ sum_t grad log pi(y_t | y_<t) (R_t - b_t)  -  beta sum_t grad KL_t ],
    R_t    = r(y) - beta sum_{s > t} KL_s.

Token y_t has no say in KL_s for s <= t; leaving those out of its return is exact and lowers the variance. The methods
differ in the baseline b_t only, which may be anything that does not depend on y_t. (Williams 1992; the policy gradient
theorem of Sutton, McAllester, Singh & Mansour 2000.)

With rewards of tokens and a discount g, R_t = sum_{s >= t} g^(s - t) r_s - beta sum_{s > t} g^(s - t) KL_s, and states
are weighted as they are visited, without g^t. That is the gradient of no single J, but where it ends is clear: at every
prefix, with the soft value V of what is to come,

    pi(v | prefix) ~ pi_0(v | prefix) exp((r(prefix, v) + g V(prefix v)) / beta),
    V(prefix) = beta log sum_v pi_0(v | prefix) exp((r(prefix, v) + g V(prefix v)) / beta).

g = 1 is the posterior pi_0(y) exp(r(y) / beta) / Z; g = 0 is the myopic point of each prefix,
pi_0(v | prefix) exp(r(prefix, v) / beta) / Z(prefix).
"""

from jaxtyping import Bool, Float
from torch import Tensor

from agents.averaging import average


def policy_gradient_loss(
    log_probabilities: Float[Tensor, "sequences time"],
    kl: Float[Tensor, "sequences time"],
    advantage: Float[Tensor, "sequences time"],
    mask: Bool[Tensor, "sequences time"],
    *,
    beta: float,
) -> Float[Tensor, ""]:
    """-(1/N) sum_i sum_t [ A_it log pi(y_it) - beta KL_it ] over N sequences; its expected gradient is -grad J.

    `log_probabilities` (of the sampled tokens) and `kl` (exact, KL(policy || reference), nats) carry the gradient;
    the advantages A do not. The value itself is not -J and is only there to be differentiated.
    """
    return average(beta * kl - advantage.detach() * log_probabilities, mask, how="per_sequence")
