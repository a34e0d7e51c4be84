"""Atari's summaries against the published ones, and the traps on the way to them."""

import math
import re
from importlib.resources import files
from pathlib import Path

import pytest

from dreamzoo.benchmark import atari
from dreamzoo.benchmark.atari import Reference

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("dreamerv2_200m_paper", (2.146, 11.524, 0.438, 0.279)),
        ("rainbow_200m_paper", (1.472, 9.121, 0.173, 0.173)),
        ("iqn_200m_paper", (1.288, 8.866, 0.211, 0.209)),
    ],
)
def test_summaries_of_the_papers_columns(agent: str, expected: tuple[float, ...]) -> None:
    assert atari.summarize(atari.published(agent)) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        # DreamerV2, table 1 (schedules, IMPALA) and table 2 (base agent), to the digits printed.
        ("dreamerv2_schedules_200m", (2.64, None, 0.43, 0.28)),
        ("impala_200m", (1.92, None, 0.34, 0.23)),
        ("dreamerv2_2020_200m", (None, None, 0.36, 0.25)),
    ],
)
def test_summaries_that_papers_print(agent: str, expected: tuple[float | None, ...]) -> None:
    found = atari.summarize(atari.published(agent))
    for ours, theirs in zip(found, expected, strict=True):
        assert theirs is None or round(ours, 2) == theirs


@pytest.mark.parametrize(
    ("james_bond", "alien", "mean"),
    [((7.0, 29.0), 228.8, 42.260), ((7.0, 302.8), 227.8, 11.326), ((29.0, 302.8), 227.8, 11.524)],
)
def test_one_wrong_reference_of_james_bond_moves_the_gamer_mean_alone(
    james_bond: tuple[float, float], alien: float, mean: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pitfall 9: the first release had the columns shifted; the paper corrected the human score."""
    references = atari.references()
    random, human = james_bond
    references["jamesbond"] = Reference(random, human, references["jamesbond"].record)
    references["alien"] = references["alien"]._replace(random=alien)
    monkeypatch.setattr(atari, "_references", lambda: references)
    found = atari.summarize(atari.published())
    assert found == pytest.approx((2.146, mean, 0.438, 0.279), abs=5e-4)


def test_james_bond_has_the_right_references() -> None:
    assert atari.references()["jamesbond"] == (29.0, 302.8, 45550.0)


def test_the_benchmark_has_55_games_and_the_references_57() -> None:
    """Pitfall 9: which games are averaged."""
    names = atari.games()
    assert len(names) == 55
    assert set(atari.references()) - set(names) == {"defender", "surround"}
    assert atari.references()["surround"].record is None
    assert set(atari.published()) == set(names)


def test_records_are_clipped_above_and_not_below() -> None:
    """Pitfall 9: clipped below as well, Rainbow would have .187."""
    two = {"pong": -20.7 - 41.7, "breakout": 1.7 + 3 * 862.3}  # record scores -1 and 3
    found = atari.summarize(two, of=["pong", "breakout"])
    assert found.record_mean == pytest.approx(1.0)
    assert found.clipped_record_mean == pytest.approx(0.0)


def test_scores_are_zero_at_random_one_at_the_gamer_and_at_the_record() -> None:
    for game, (random, human, record) in atari.references().items():
        assert atari.gamer_score(game, random) == 0.0
        assert atari.gamer_score(game, human) == 1.0
        if record is not None:
            assert atari.record_score(game, random) == 0.0
            assert atari.record_score(game, record) == 1.0
    with pytest.raises(ValueError, match="No world record of surround"):
        atari.record_score("surround", 0.0)


@pytest.mark.parametrize(
    ("spelling", "game"),
    [
        ("ALE/UpNDown-v5", "up_n_down"),
        ("UpNDownNoFrameskip-v4", "up_n_down"),
        ("atari/up_n_down", "up_n_down"),
        ("atari100k/pong", "pong"),
        ("atari_pong", "pong"),
        ("james_bond", "jamesbond"),
        ("ALE/Jamesbond-v5", "jamesbond"),
        ("PongDeterministic-v4", "pong"),
        ("Q*bert", "qbert"),
    ],
)
def test_every_spelling_finds_its_game(spelling: str, game: str) -> None:
    assert atari.game_name(spelling) == game


def test_all_names_of_the_emulator_are_known() -> None:
    ale = pytest.importorskip("ale_py")
    roms = {path.stem for path in (Path(ale.__file__).parent / "roms").glob("*.bin")}
    if not roms:
        pytest.skip("no ROMs")
    assert {atari.game_name(rom) for rom in roms & set(atari.references())} == roms & set(
        atari.references()
    )
    assert set(atari.references()) <= roms


def test_a_game_too_few_is_named() -> None:
    scores = atari.published()
    del scores["pong"]
    with pytest.raises(ValueError, match=r"1 of 55 games have no score: \['pong'\]"):
        atari.summarize(scores)
    rest = [atari.gamer_score(game, score) for game, score in scores.items()]
    assert atari.summarize(scores, of=scores).gamer_mean == pytest.approx(sum(rest) / 54)
    with pytest.raises(ValueError, match="0 of 0 games"):
        atari.summarize(scores, of=[])


def test_a_game_twice_or_unknown_is_refused() -> None:
    with pytest.raises(ValueError, match="'james_bond' is jamesbond, which has a score already"):
        atari.summarize({"jamesbond": 1.0, "james_bond": 2.0})
    with pytest.raises(ValueError, match="'ALE/Chess-v5' is not one of the 57"):
        atari.summarize({"ALE/Chess-v5": 1.0})
    with pytest.raises(ValueError, match="'pong' is nan"):
        atari.summarize({"pong": math.nan})
    with pytest.raises(ValueError, match="Nothing is published here of 'game'"):
        atari.published("game")


def test_further_games_are_left_out() -> None:
    scores = {**atari.published(), "defender": 1e9}
    assert atari.summarize(scores) == atari.summarize(atari.published())


def test_seeds_are_averaged_in_both_orders() -> None:
    """A median of means is not a mean of medians: DreamerV2 with schedules, 2.64 and 2.14."""
    of = ["pong", "boxing", "freeway"]

    def raw(*scores: float) -> dict[str, float]:
        references = (atari.references()[game] for game in of)
        return {
            game: r.random + score * (r.human - r.random)
            for game, score, r in zip(of, scores, references, strict=True)
        }

    found = atari.summarize_seeds([raw(0.0, 1.0, 4.0), raw(3.0, 0.0, 0.4)], of)
    assert found.of_means.gamer_median == pytest.approx(1.5)  # of 1.5, 0.5 and 2.2
    assert found.mean.gamer_median == pytest.approx((1.0 + 0.4) / 2)
    assert found.of_means.gamer_mean == pytest.approx(found.mean.gamer_mean)
    with pytest.raises(ValueError, match="no seed"):
        atari.summarize_seeds([])


@pytest.mark.parametrize("name", ["atari_reference.csv", "atari_published.csv"])
def test_the_files_are_shipped_and_say_where_they_are_from(name: str) -> None:
    text = files("dreamzoo.benchmark").joinpath(name).read_text()
    assert re.match(r"(# .*\n)+game,", text)
    assert "danijar/dreamerv2" in text
    packaging = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r'"dreamzoo.benchmark" = \[(.*?)\]', packaging, re.DOTALL)
    assert listed is not None
    assert name in listed.group(1)
