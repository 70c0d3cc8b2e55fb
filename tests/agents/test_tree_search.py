"""Tree search: certain where all can be imagined, better than best-of-n where beginnings tell, and not elsewhere."""

import hashlib
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.policy import Policy
from agents.rollout import Rollouts
from agents.search.best_of_n import BestOfN
from agents.search.tree import Tree
from agents.search.tree_search import TreeSearch
from agents.sources import Reward
from reward_models.errors import InvalidInput
from tests.agents.enumerable import PROMPT, World, world
from tests.agents.objective_contract import EveryCompletion

LENGTH = 8
TARGET = torch.randint(1, 8, (LENGTH,), generator=torch.Generator().manual_seed(5))


def noise(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def hits(rollouts: Rollouts) -> Tensor:
    samples = rollouts.samples
    return (samples.tokens == TARGET[: samples.tokens.shape[1]]) & samples.mask


def decomposable(rollouts: Rollouts) -> Tensor:
    """One for every token that is right, whatever the others are."""
    return hits(rollouts).float().sum(dim=1)


def deep(rollouts: Rollouts) -> Tensor:
    """One for every token that is right until the first wrong one: the later ones pay only behind the earlier."""
    return hits(rollouts).long().cumprod(dim=1).sum(dim=1).float()


def scattered(rollouts: Rollouts) -> Tensor:
    """-log of a hash of all tokens in (0, 1): completions that begin alike have nothing in common."""
    rows = [tokens[mask].tolist() for tokens, mask in zip(rollouts.samples.tokens, rollouts.samples.mask, strict=True)]
    numbers = [int.from_bytes(hashlib.sha256(bytes(row)).digest()[:4], "little") for row in rows]
    return -torch.log((torch.tensor(numbers, dtype=torch.float64) + 1) / 2**32).float()


def deceptive(rollouts: Rollouts) -> Tensor:
    """The best completion begins with three right tokens, each of which costs one until the fourth is right too."""
    right = hits(rollouts).long().cumprod(dim=1).sum(dim=1)
    return torch.where(right >= 4, torch.full(right.shape, 5.0), -right.float())


@pytest.fixture
def long(make_policy: Callable[..., Policy]) -> Policy:
    """Eight tokens, up to LENGTH of them: millions of completions, none likely."""
    return make_policy(3, vocabulary=8, spread=0.2)


def mean_reward(search: TreeSearch | BestOfN, policy: Policy, reward: Reward, *, seeds: int = 3) -> float:
    found = [search.choose(policy, [PROMPT], reward, noise(seed), reference=policy) for seed in range(seeds)]
    assert all(one.candidate_rewards.shape[1] == 64 for one in found)
    return sum(float(one.rewards[0]) for one in found) / seeds


@pytest.mark.parametrize(("seed", "best"), [(0, 0), (1, 3), (2, 14)])
def test_with_as_many_simulations_as_completions_the_best_is_certain(
    every_completion: EveryCompletion, seed: int, best: int
) -> None:
    """15 completions, one reward above the others: all are imagined, none twice, and then the search ends."""
    small = world(every_completion, length=3)
    assert len(small.completions) == 15
    rewards = torch.zeros(15, dtype=torch.float64)
    rewards[best] = 1.0
    of = World(small.reference, small.completions, rewards, small.beta, small.length)
    imagined: list[tuple[int, ...]] = []

    def reward(rollouts: Rollouts) -> Tensor:
        samples = rollouts.samples
        rows = zip(samples.tokens.tolist(), samples.mask.sum(1).tolist(), strict=True)
        imagined.extend(tuple(tokens[:size]) for tokens, size in rows)
        return of.reward(rollouts)

    found = TreeSearch(simulations=50, wave=1, max_new_tokens=3).choose(
        of.reference, [PROMPT], reward, noise(seed), reference=of.reference
    )
    assert sorted(imagined) == sorted(of.completions)
    assert found.tokens == (of.completions[best],)
    assert float(found.rewards[0]) == 1.0
    assert found.candidate_rewards.shape == (1, 15)


@pytest.mark.parametrize(("reward", "lead"), [(decomposable, 0.5), (deep, 2.0)])
def test_it_beats_best_of_n_where_beginnings_tell(long: Policy, reward: Reward, lead: float) -> None:
    """At 64 completions asked about, means of three seeds; the figures are printed."""
    planned = mean_reward(TreeSearch(simulations=64, max_new_tokens=LENGTH), long, reward)
    drawn = mean_reward(BestOfN(n=64, max_new_tokens=LENGTH), long, reward)
    print(f"tree search {planned:.2f}, best of 64 {drawn:.2f}")
    assert planned > drawn + lead


def test_it_is_no_better_where_there_is_no_structure(long: Policy) -> None:
    """The best of 64 different hashes is 1 + 1/2 + .. + 1/64 = 4.74 on average, whoever looks for them.

    Its standard deviation is 1.28, that of a mean of three 0.74; the tolerance is three of those. Best-of-n draws some
    completions twice and so has fewer hashes.
    """
    planned = mean_reward(TreeSearch(simulations=64, max_new_tokens=LENGTH), long, scattered)
    print(f"tree search {planned:.2f}")
    assert planned == pytest.approx(4.74, abs=2.2)


def test_it_is_misled_by_a_reward_that_punishes_the_way_to_the_best(long: Policy) -> None:
    """Neither finds the best."""
    planned = mean_reward(TreeSearch(simulations=64, max_new_tokens=LENGTH), long, deceptive)
    drawn = mean_reward(BestOfN(n=64, max_new_tokens=LENGTH), long, deceptive)
    assert planned == pytest.approx(drawn, abs=0.01)


def test_one_completion_is_taken_of_many_imagined(long: Policy) -> None:
    """The reward is asked about 32 completions; 31 of them are never taken, and the taken one is their best."""
    seen: list[str] = []

    def reward(rollouts: Rollouts) -> Tensor:
        seen.extend(rollouts.samples.completions)
        return decomposable(rollouts)

    found = TreeSearch(simulations=32, wave=1, max_new_tokens=LENGTH).choose(
        long, [PROMPT], reward, noise(0), reference=long
    )
    assert len(set(seen)) == len(seen) == 32
    assert found.rewards[0] == found.candidate_rewards.max()
    assert found.completions[0] == seen[int(found.candidate_rewards[0].argmax())]


def test_prompts_do_not_mix_and_the_generator_alone_decides(long: Policy) -> None:
    """Rewards of two prompts are opposite; each has its own tree and gets its own best."""
    prompts = [PROMPT, "w1"]

    def reward(rollouts: Rollouts) -> Tensor:
        worth = (rollouts.samples.tokens == 3).float().sum(dim=1).view(2, -1)
        return torch.stack([worth[0], -worth[1]]).flatten()

    search = TreeSearch(simulations=40, wave=4, max_new_tokens=LENGTH)
    found = search.choose(long, prompts, reward, noise(1), reference=long)
    assert found.tokens[0].count(3) > 3 and found.tokens[1].count(3) == 0
    assert found.prompts == tuple(prompts)
    torch.rand(3)
    again = search.choose(long, prompts, reward, noise(1), reference=long)
    assert again.tokens == found.tokens
    assert torch.equal(again.candidate_rewards, found.candidate_rewards)
    other = search.choose(long, prompts, reward, noise(2), reference=long)
    assert not torch.equal(other.candidate_rewards, found.candidate_rewards)


def test_the_certificate_is_that_of_the_completion(long: Policy, plain_logits: Callable[..., Tensor]) -> None:
    """-log pi(y) by the plain computation; the ratio is 1 / pi(y)."""
    found = TreeSearch(simulations=16, max_new_tokens=LENGTH).choose(
        long, [PROMPT], decomposable, noise(0), reference=long
    )
    tokens = torch.tensor(found.tokens[0])
    with torch.no_grad():
        logits = plain_logits(long, long.encode_prompt(PROMPT), found.tokens[0]).double()
    log_probability = float(torch.log_softmax(logits, -1).gather(-1, tokens[:, None]).sum())
    assert found.certificates[0].kl == pytest.approx(-log_probability, abs=1e-4)
    assert found.certificates[0].ratio == pytest.approx(math.exp(-log_probability), rel=1e-3)


def test_the_narrowest_tree_still_imagines(long: Policy) -> None:
    """Of width 1 the walk knows the likeliest token and what was drawn; it goes on with plain draws."""
    found = TreeSearch(simulations=20, wave=3, width=1, max_new_tokens=4).choose(
        long, [PROMPT], decomposable, noise(0), reference=long
    )
    assert found.candidate_rewards.shape == (1, 20)


def considered(*rows: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Two tokens, 0 and 1, at each time with these probabilities; the one that was drawn is added by `add_to`."""
    priors = np.array(rows)
    return np.tile(np.array([0, 1]), (len(rows), 1)), priors


def add_to(tree: Tree, completion: list[int], reward: float, *rows: tuple[float, float], selected: int = 0) -> None:
    tokens, priors = considered(*rows)
    drawn = np.array(completion)
    tokens = np.concatenate([tokens, drawn[:, None]], axis=1)
    priors = np.concatenate([priors, priors[np.arange(len(drawn)), drawn][:, None]], axis=1)
    tree.add(drawn, reward, tokens, priors, selected=selected)


def test_a_walk_by_hand() -> None:
    """Two tokens, P = (3/4, 1/4), c = 1. After completions (0, 0) of reward 1 and (1, 0) of reward 0:

    Q = (1, 0), bonus P sqrt(3) / 2 = (0.65, 0.22): token 0; below it (0, 0) is known and closed, so (0, 1) is next.
    With (0, 1) of reward 0 too, token 0 has nothing new, and (1, 1) is all that is left; then nothing.
    """
    tree = Tree(exploration=1.0)
    assert tree.select() is None
    add_to(tree, [0, 0], 1.0, (0.75, 0.25), (0.5, 0.5))
    add_to(tree, [1, 0], 0.0, (0.75, 0.25), (0.5, 0.5))
    assert tree.root is not None
    scores = tree._scores(tree.root)
    assert scores.tolist() == pytest.approx([1 + 0.75 * math.sqrt(3) / 2, 0.25 * math.sqrt(3) / 2])
    assert tree.select() == (0, 1)
    # In flight it counts as the lowest: Q(0) = 1/2 for two visits. And it is not selected again: only (1, 1) is.
    assert tree.select() == (1, 1)
    assert tree.select() is None
    add_to(tree, [0, 1], 0.0, (0.75, 0.25), (0.5, 0.5), selected=2)
    add_to(tree, [1, 1], 0.5, (0.75, 0.25), (0.5, 0.5), selected=2)
    assert tree.finished
    assert tree.root.visits.tolist() == [2.0, 2.0]
    assert tree.root.totals.tolist() == [1.0, 0.5]
    assert tree.root.flying.tolist() == [0.0, 0.0]


def test_an_untried_token_counts_as_its_node() -> None:
    """After (0, 0) of reward 1 and (0, 1) of reward 0 token 1 is untried: mean 1/2, bonus 1/4 sqrt(3)."""
    tree = Tree(exploration=1.0)
    rows = ((0.75, 0.25), (0.5, 0.5))
    add_to(tree, [0, 0], 1.0, *rows)
    add_to(tree, [0, 1], 0.0, *rows)
    assert tree.root is not None
    scores = tree._scores(tree.root)
    assert scores[0] == -math.inf  # both completions behind it are known
    assert scores[1] == pytest.approx(0.5 + 0.25 * math.sqrt(3))


def test_unusable_values_are_refused(long: Policy) -> None:
    for settings in ({"simulations": 0}, {"wave": 0}, {"width": 0}, {"exploration": -1.0}, {"max_new_tokens": 0}):
        with pytest.raises(InvalidInput, match=next(iter(settings))):
            TreeSearch(**settings)
    with pytest.raises(InvalidInput, match="at least one prompt"):
        TreeSearch().choose(long, [], decomposable, noise(0), reference=long)
