"""What players score who know more or less: the numbers that agents are compared with."""

import numpy as np
import pytest

from tests.scripts.test_scripts import load

anchors = load("memory_anchors")


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std() / np.sqrt(len(values)))


@pytest.mark.parametrize(
    ("n_cards", "player", "pairs"),
    [
        (4, "uniform", 0.88),
        (8, "uniform", 1.09),
        (16, "uniform", 1.26),
        (4, "any but last", 1.11),
        (8, "any but last", 1.22),
        (16, "any but last", 1.34),
        (4, "any left but last", 1.59),
        (8, "any left but last", 1.77),
        (16, "any left but last", 1.59),
    ],
)
def test_players_who_forget_find_few_pairs(n_cards: int, player: str, pairs: float) -> None:
    found = anchors.play_cards(anchors.CARD_PLAYERS[player], n_cards, games=1_000)
    mean, error = mean_and_error(found[:, 0])
    assert error < 0.05
    assert abs(mean - pairs) < 3 * error + 0.02  # the number itself was drawn, and rounded


@pytest.mark.parametrize(("n_cards", "flips"), [(4, 5.0), (8, 11.0), (16, 23.0)])
def test_who_forgets_nothing_finds_all_pairs_in_time(n_cards: int, flips: float) -> None:
    found = anchors.play_cards(anchors.CARD_PLAYERS["all"], n_cards, games=300)
    assert (found[:, 0] == n_cards / 2).all()
    assert found[:, 1].max() <= 3 * n_cards // 2
    assert abs(found[:, 1].mean() - flips) < 0.5


@pytest.mark.parametrize("length", [1, 10, 100])
def test_the_maze_is_worth_half_without_a_memory_and_one_with_it(length: int) -> None:
    mean, error = mean_and_error(anchors.play_maze("without a memory", length, games=600))
    assert abs(mean - 0.5) < 3 * error < 0.1
    assert (anchors.play_maze("remembers", length, games=20) == 1).all()


def test_the_table_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["anchors", "--cards", "4", "--games", "20", "--length", "2"])
    anchors.main()
    printed = capsys.readouterr().out
    assert "TMaze of length 2" in printed
    assert printed.count("2.00") == 1  # pairs of four cards, with a memory
