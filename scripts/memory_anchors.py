"""
Measure what players who know more or less score in the tasks that need a memory.

    python scripts/memory_anchors.py
    python scripts/memory_anchors.py --cards 4 8 --games 1000

An agent's score means nothing beside these: one that forgets everything scores 0.5 of 1 in the
T-maze, and knowing which cards are gone, and nothing else, finds 1.6 pairs of 8.
"""

import argparse
from collections.abc import Callable
from typing import Protocol

import numpy as np

from dreamzoo.envs import CardGame, TMaze


class CardPlayer(Protocol):
    """
    Chooses cards.

    :param n_cards: of the game
    :param rng: for what is left to chance
    """

    def __init__(self, n_cards: int, rng: np.random.Generator) -> None: ...

    def choose(self) -> int:
        """Return the card to flip."""

    def see(self, card: int, symbol: int, reward: float) -> None:
        """
        Learn what came of it.

        :param card: that was flipped
        :param symbol: on it, or blank
        :param reward: 1 where it made a pair
        """


class Uniform:
    """Flips any card."""

    def __init__(self, n_cards: int, rng: np.random.Generator) -> None:
        self.n_cards, self.rng = n_cards, rng
        self.last: int | None = None

    def choose(self) -> int:
        candidates = self.candidates()
        return candidates[self.rng.integers(len(candidates))]

    def candidates(self) -> list[int]:
        return list(range(self.n_cards))

    def see(self, card: int, symbol: int, reward: float) -> None:
        self.last = card


class NotTheLast(Uniform):
    """Flips any card but the last: all that is possible without a memory."""

    def candidates(self) -> list[int]:
        return [card for card in super().candidates() if card != self.last]


class KnowsWhatIsGone(NotTheLast):
    """Flips any card that is left but the last, and remembers no symbol."""

    def __init__(self, n_cards: int, rng: np.random.Generator) -> None:
        super().__init__(n_cards, rng)
        self.gone: set[int] = set()

    def candidates(self) -> list[int]:
        return [card for card in super().candidates() if card not in self.gone]

    def see(self, card: int, symbol: int, reward: float) -> None:
        if reward and self.last is not None:
            self.gone |= {self.last, card}
        super().see(card, symbol, reward)


class Remembers:
    """Flips new cards one after the other, and the mate of one as soon as both are known."""

    def __init__(self, n_cards: int, rng: np.random.Generator) -> None:
        self.next_new = 0
        self.seen: dict[int, int] = {}
        self.mate: int | None = None

    def choose(self) -> int:
        return self.next_new if self.mate is None else self.mate

    def see(self, card: int, symbol: int, reward: float) -> None:
        self.next_new = max(self.next_new, card + 1)
        known = self.seen.setdefault(symbol, card)
        # Two of a kind one after the other are a pair already.
        self.mate = None if reward or known == card else known


CARD_PLAYERS: dict[str, type[CardPlayer]] = {
    "uniform": Uniform,
    "any but last": NotTheLast,
    "any left but last": KnowsWhatIsGone,
    "all": Remembers,
}


def _chance(seed: int) -> np.random.Generator:
    """Return a stream of its own: from the same seed the environment draws the same numbers."""
    return np.random.default_rng((seed, 1))


def play_cards(player: type[CardPlayer], n_cards: int, games: int, seed: int = 0) -> np.ndarray:
    """
    Play the card game.

    :param player: who plays
    :param n_cards: cards
    :param games: how often
    :param seed: of shuffles and choices
    :return: pairs found and flips made in each game, (games, 2)
    """
    env, rng = CardGame(n_cards), _chance(seed)
    env.reset(seed=seed)
    results = []
    for _ in range(games):
        env.reset()
        who, pairs, flips, ended = player(n_cards, rng), 0.0, 0, False
        while not ended:
            card = who.choose()
            symbol, reward, ended, _, _ = env.step(card)
            who.see(card, symbol, reward)
            pairs, flips = pairs + reward, flips + 1
        results.append((pairs, flips))
    return np.array(results)


#: What is chosen at the junction, by the cue and chance.
MAZE_PLAYERS: dict[str, Callable[[int, np.random.Generator], int]] = {
    "without a memory": lambda _, rng: int(rng.integers(1, 3)),
    "remembers": lambda cue, _: 1 if cue == 1 else 2,
}


def play_maze(name: str, length: int, games: int, seed: int = 0) -> np.ndarray:
    """
    Walk through the T-maze.

    :param name: who walks, of :data:`MAZE_PLAYERS`
    :param length: steps to the junction
    :param games: how often
    :param seed: of cues and choices
    :return: returns, (games,)
    """
    env, rng = TMaze(length), _chance(seed)
    obs, _ = env.reset(seed=seed)
    returns = np.zeros(games)
    for game in range(games):
        cue, ended = int(obs[0]), False
        while not ended:
            action = MAZE_PLAYERS[name](cue, rng) if obs[1] else 0
            obs, reward, ended, _, _ = env.step(action)
            returns[game] += reward
        obs, _ = env.reset()
    return returns


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cards", type=int, nargs="+", default=[4, 6, 8, 12, 16])
    parser.add_argument("--length", type=int, default=10, help="of the T-maze")
    parser.add_argument("--games", type=int, default=20_000)
    return parser.parse_args()


def main() -> None:
    """Print a table of each task."""
    args = parse_args()
    print("CardGame, pairs found by who knows:")
    print("cards   " + "".join(f"{name:<20}" for name in CARD_PLAYERS))
    for n in args.cards:
        scores = [play_cards(who, n, args.games)[:, 0].mean() for who in CARD_PLAYERS.values()]
        print(f"{n:<8}" + "".join(f"{score:<20.2f}" for score in scores))
    print(f"TMaze of length {args.length}:")
    for name in MAZE_PLAYERS:
        print(f"{name:<20}{play_maze(name, args.length, args.games).mean():.2f}")


if __name__ == "__main__":
    main()
