"""The card game of MERLIN's paper, pairs, with as many cards as one wants."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from torch import Tensor

from dreamzoo.envs.memory.batched_env import BatchedEnv
from dreamzoo.envs.memory.single_env import SingleEnv
from dreamzoo.nn.checks import to_host
from dreamzoo.nn.settings import Whole, read_settings


class CardGame(SingleEnv):
    """
    Find pairs among cards that lie face down: "Memory", one card a step.

    MERLIN's task of figure 2a (Wayne et al. 2018, https://arxiv.org/abs/1803.10760; 16 cards
    there). An action flips a card and shows its symbol, for this step only. If it and the card
    flipped before are two different cards of the same symbol, both are removed: reward 1. The
    game ends when all cards are removed, or after 3/2 N flips, which suffice to who forgets
    nothing.

    The observation is the symbol's number, or the number N/2 (blank) at the beginning and where
    the card was removed before; policies see it as a one-hot vector. *Which* card was flipped is
    not in it: that is known from the action alone, so give the agent its own actions, as
    ``VecPreviousActionReward`` does.

    Pairs found by players who know more or less (``scripts/memory_anchors.py``):

    ====== ======= ============ ================= ===
    cards  uniform any but last any left but last all
    ====== ======= ============ ================= ===
    4      0.90    1.11         1.57              2
    8      1.10    1.23         1.77              4
    16     1.27    1.34         1.61              8
    ====== ======= ============ ================= ===

    Example:
        >>> from dreamzoo.envs import CardGame
        >>> env = CardGame(n_cards=4)
        >>> env.reset(seed=0, options=dict(cards=[0, 1, 1, 0]))[0]  # blank
        2
        >>> [env.step(card)[:2] for card in (1, 2)]
        [(1, 0.0), (1, 1.0)]

    :param n_cards: cards N, an even number
    :raises ValueError: for an odd number
    """

    reset_options: ClassVar[tuple[str, ...]] = ("cards",)

    def __init__(self, n_cards: int = 16) -> None:
        _check_cards(type(self).__name__, n_cards)
        self.n_cards = n_cards
        self.max_flips = 3 * n_cards // 2
        self.observation_space = spaces.Discrete(n_cards // 2 + 1)
        self.action_space = spaces.Discrete(n_cards)
        self.blank = n_cards // 2
        self.cards = np.arange(n_cards) // 2
        self.removed = np.zeros(n_cards, bool)
        self._previous = -1  # none
        self._flips, self._runs = 0, False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """
        Shuffle.

        :param seed: of the shuffles
        :param options: ``cards``: symbols (N,) in the order to be played with, this time
        :raises ValueError: for other cards or another option
        """
        given = self._read_options(options).get("cards")
        super().reset(seed=seed)
        if given is None:
            self.cards = self.np_random.permutation(self.n_cards) // 2
        else:
            self.cards = _read_cards(given, self.n_cards, 1)[0]
        self.removed = np.zeros(self.n_cards, bool)
        self._previous, self._flips, self._runs = -1, 0, True
        return self.blank, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """
        Flip a card.

        :param action: which
        :raises ResetNeeded: before the first reset, and after the end of an episode
        :raises ValueError: for another action
        """
        card, previous = self._read_action(action), self._previous
        self._previous, self._flips = card, self._flips + 1
        self._runs = self._flips < self.max_flips
        if self.removed[card]:
            return self.blank, 0.0, not self._runs, False, {}
        # A card that is there has its mate, too: whether that was removed need not be asked.
        is_pair = 0 <= previous != card and bool(self.cards[previous] == self.cards[card])
        if is_pair:
            self.removed[[previous, card]] = True
        self._runs &= not self.removed.all()
        return int(self.cards[card]), float(is_pair), not self._runs, False, {}


class Cards(NamedTuple):
    """
    Where N games of n cards stand.

    :param symbols: of the cards, (N, n)
    :param removed: which were found, (N, n)
    :param previous: the card flipped last, (N,); n before the first flip
    :param flips: made so far, (N,)
    :param seen: what is observed, (N,)
    """

    symbols: Tensor
    removed: Tensor
    previous: Tensor
    flips: Tensor
    seen: Tensor


class CardGameVectorEnv(BatchedEnv[Cards]):
    """
    N games of :class:`CardGame` at once, as tensors on any device.

    Resets are in the same step; with ``AutoresetMode.DISABLED`` call
    ``reset(options={"reset_mask": rows})``. The option ``cards``, (n_cards,) or (N, n_cards), says
    in which order cards lie, until rows reset.

    Example:
        >>> from dreamzoo.envs import CardGameVectorEnv, VectorEnvToVecEnv
        >>> envs = CardGameVectorEnv(num_envs=256, n_cards=8)
        >>> obs, info = envs.reset(seed=0)
        >>> obs, reward, *_ = envs.step(envs.action_space.sample())
        >>> obs.shape, type(reward)
        (torch.Size([256]), <class 'torch.Tensor'>)
        >>> vec_env = VectorEnvToVecEnv(envs)  # for agents of SB3

    :param num_envs: games N
    :param n_cards: cards of each, an even number
    :param device: of the tensors
    :param autoreset_mode: ``SAME_STEP`` or ``DISABLED``
    :raises ValueError: for an odd number of cards, or another mode
    """

    reset_options: ClassVar[tuple[str, ...]] = ("cards",)

    def __init__(
        self,
        num_envs: int = 1,
        n_cards: int = 16,
        *,
        device: th.device | str = "cpu",
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
    ) -> None:
        _check_cards(type(self).__name__, n_cards)
        self.n_cards, self.max_flips, self.blank = n_cards, 3 * n_cards // 2, n_cards // 2
        observed, flips = spaces.Discrete(n_cards // 2 + 1), spaces.Discrete(n_cards)
        super().__init__(num_envs, observed, flips, device, autoreset_mode)

    def _begin(self, options: Mapping[str, Any]) -> Cards:
        n, shape = self.num_envs, (self.num_envs, self.n_cards)
        given = options.get("cards")
        if given is None:
            # The places of sorted random numbers are a shuffle of every row.
            draws = th.rand(shape, generator=self._generator, device=self.device)
            symbols = draws.argsort(dim=1) // 2
        else:
            symbols = th.as_tensor(_read_cards(given, self.n_cards, n), device=self.device)
        return Cards(
            symbols=symbols,
            removed=th.zeros(shape, dtype=th.bool, device=self.device),
            previous=th.full((n,), self.n_cards, device=self.device),
            flips=th.zeros(n, dtype=th.long, device=self.device),
            seen=th.full((n,), self.blank, device=self.device),
        )

    def _follow(self, state: Cards, actions: Tensor) -> tuple[Cards, Tensor, Tensor]:
        card = actions[:, None]
        before = state.previous.clamp(max=self.n_cards - 1)[:, None]
        has_before = state.previous < self.n_cards
        is_gone = state.removed.gather(1, card)[:, 0]
        symbol, symbol_before = (state.symbols.gather(1, x)[:, 0] for x in (card, before))
        is_other = has_before & (state.previous != actions)
        is_pair = is_other & ~is_gone & (symbol == symbol_before)
        numbers = th.arange(self.n_cards, device=self.device)
        removed = state.removed | (is_pair[:, None] & ((numbers == card) | (numbers == before)))
        flips = state.flips + 1
        seen = th.where(is_gone, self.blank, symbol)
        after = Cards(state.symbols, removed, actions, flips, seen)
        return after, is_pair.float(), removed.all(dim=1) | (flips >= self.max_flips)

    def _observe(self, state: Cards) -> Tensor:
        return state.seen


def _check_cards(owner: str, n_cards: int) -> None:
    read_settings(owner, {"n_cards": Whole(2)}, {"n_cards": n_cards})
    if n_cards % 2:
        raise ValueError(f"{owner}: {n_cards=} must be an even number: cards are pairs.")


def _read_cards(given: Any, n_cards: int, rows: int) -> np.ndarray:
    """Check an order of cards, one for all games or one for each."""
    expected = f"symbols of {n_cards} cards, each of 0 to {n_cards // 2 - 1} twice"
    cards = to_host(given, "cards", expected)
    if cards.shape not in ((n_cards,), (rows, n_cards)):
        raise ValueError(f"cards have the shape {cards.shape}; expected {expected}.")
    cards = np.broadcast_to(cards, (rows, n_cards)).copy()
    if not (np.sort(cards, axis=1) == np.arange(n_cards) // 2).all():
        raise ValueError(f"cards={given}; expected {expected}.")
    return cards.astype(np.int64)
