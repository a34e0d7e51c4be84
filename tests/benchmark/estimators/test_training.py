"""Training a cell: schedules, the choice of weights and learning rates, going on after a stop."""

from pathlib import Path

import pytest
import torch as th

from dreamzoo.benchmark.estimators.digits import synthetic_digits
from dreamzoo.benchmark.estimators.models import StructuredPrediction
from dreamzoo.benchmark.estimators.results import (
    FIRST_RATE,
    RATES,
    Column,
    Results,
    Row,
    chosen,
    next_cell,
    next_rate,
    read_rows,
    train_all,
)
from dreamzoo.benchmark.estimators.table import agreement, estimator_table, interval
from dreamzoo.benchmark.estimators.training import (
    ESTIMATORS,
    Cell,
    Effort,
    Outcome,
    Trainer,
    anneal,
)
from dreamzoo.nn.estimators import GumbelSoftmax, SlopeAnnealed

DIGITS = synthetic_digits()
TINY = Effort(epochs=6, patience=4, valid_every=2, valid_samples=2, test_samples=5, batch_size=40)


def test_training_learns_and_tests_the_weights_that_were_best_on_validation() -> None:
    trainer = Trainer(Cell("sbn", "bernoulli", "st", 0.03, 0), DIGITS, TINY)
    before = trainer.model.bound(DIGITS.test, 5).mean()
    outcome = trainer.run()
    assert outcome.test < before - 50
    assert outcome.best_epoch in (2, 4, 6)
    generator = th.Generator().manual_seed(0)
    again = trainer.model.bound(DIGITS.test, 5, generator).mean()
    assert outcome.test == pytest.approx(again.item())


def test_training_ends_where_validation_gets_no_better(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(Cell("sbn", "bernoulli", "st", 1e-3, 0), DIGITS, TINY)
    bounds = iter([100.0, 101.0, 102.0, 7.0])  # the last one is that of the test
    model, weights = trainer.model, list[th.Tensor]()
    assert isinstance(model, StructuredPrediction)
    monkeypatch.setattr(trainer, "_bound", lambda images, samples: next(bounds))
    train = trainer.train_epoch

    def noting() -> th.Tensor:
        loss = train()
        weights.append(model.head.weight.clone())
        return loss

    monkeypatch.setattr(trainer, "train_epoch", noting)
    outcome = trainer.run()
    assert outcome[:2] == (6, 2)
    assert outcome[3:5] == (100.0, 7.0)
    assert th.equal(model.head.weight, weights[1])


def test_rates_that_are_too_high_end_at_once() -> None:
    outcome = Trainer(Cell("sbn", "bernoulli", "st", 1e38, 0), DIGITS, TINY).run()
    assert outcome.epochs == 2
    assert outcome.valid == float("inf")


def test_seeds_begin_with_other_weights_and_see_other_batches() -> None:
    one, other = (
        Trainer(Cell("sbn", "bernoulli", "st", 0.01, seed), DIGITS, TINY) for seed in (0, 1)
    )
    assert not th.equal(one.model.first(DIGITS.test), other.model.first(DIGITS.test))
    th.manual_seed(0)
    again = Trainer(Cell("sbn", "bernoulli", "st", 0.01, 1), DIGITS, TINY)
    assert th.equal(again.model.first(DIGITS.test), other.model.first(DIGITS.test))
    assert not th.equal(one.generator.get_state(), other.generator.get_state())


def test_a_cell_is_the_same_from_the_same_seed() -> None:
    outcomes = []
    for seed in (0, 0, 1):
        th.manual_seed(99 - seed)
        trainer = Trainer(Cell("vae", "categorical", "gumbel", 0.01, seed), DIGITS, TINY)
        outcomes.append(trainer.run()[:-1])
    assert outcomes[0] == outcomes[1]
    assert outcomes[0] != outcomes[2]


def test_temperatures_fall_in_the_vae_alone_and_slopes_grow_in_both() -> None:
    gumbel, slope = GumbelSoftmax(), SlopeAnnealed()
    anneal(gumbel, "sbn", 5_000, 40)
    assert gumbel.temperature == 1.0
    anneal(gumbel, "vae", 5_000, 40)
    assert gumbel.temperature == pytest.approx(0.6065, abs=1e-4)
    for task in ("sbn", "vae"):
        anneal(slope, task, 400, 40)
        assert slope.slope == pytest.approx(1.4)


def test_schedules_follow_a_trainers_updates() -> None:
    trainer = Trainer(Cell("sbn", "categorical", "slope", 0.01, 0), DIGITS, TINY)
    trainer.train_epoch()
    trainer.train_epoch()
    assert isinstance(trainer.estimator, SlopeAnnealed)
    assert trainer.updates == 8
    assert trainer.estimator.slope == 1.04


@pytest.mark.parametrize("best", RATES)
def test_learning_rates_are_tried_until_both_neighbors_are_worse(best: float) -> None:
    tried: dict[float, float] = {}
    while (rate := next_rate(tried)) is not None:
        assert rate not in tried
        tried[rate] = abs(RATES.index(rate) - RATES.index(best))
    assert min(tried, key=lambda rate: tried[rate]) == best
    assert len(tried) <= abs(RATES.index(best) - RATES.index(FIRST_RATE)) + 3


def outcome(valid: float, test: float) -> Outcome:
    return Outcome(10, 10, 50.0, valid, test, 1.5)


def row_of(cell: Cell, result: Outcome, effort: str = "", commit: str = "c0ffee") -> Row:
    return Row(**cell._asdict(), **result._asdict(), effort=effort, commit=commit)


def fake(cell: Cell) -> Outcome:
    """Prefer the rate 3e-3; the estimators come in the order of their list."""
    position = list(ESTIMATORS).index(cell.estimator)
    return outcome(abs(RATES.index(cell.rate) - 3), 60 - position + cell.seed / 10)


def test_a_table_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    path, trained = tmp_path / "runs" / "results.csv", list[Cell]()

    def interrupted(cell: Cell) -> Outcome:
        if len(trained) == 5:
            raise KeyboardInterrupt
        trained.append(cell)
        return fake(cell)

    columns = [Column("sbn", "bernoulli")]
    with pytest.raises(KeyboardInterrupt):
        train_all(Results(path, TINY, "abc"), interrupted, 3, columns, ["st", "darn"])
    rest = list[Cell]()

    def resumed(cell: Cell) -> Outcome:
        rest.append(cell)
        return fake(cell)

    assert train_all(Results(path, TINY, "abc"), resumed, 3, columns, ["st", "darn"]) == len(rest)
    cells = [*trained, *rest]
    assert len(cells) == len(set(cells)) == len(read_rows(path)) == 10  # 3 rates, 2 more seeds
    assert [row.cell for row in read_rows(path)] == cells
    for name in ("st", "darn"):
        assert [(r.rate, r.seed) for r in chosen(read_rows(path), columns[0], name)] == [
            (3e-3, 0),
            (3e-3, 1),
            (3e-3, 2),
        ]
    assert train_all(Results(path, TINY, "abc"), resumed, 3, columns, ["st", "darn"]) == 0


def test_cells_of_another_effort_are_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    Results(path, TINY, "abc").append(Cell("vae", "bernoulli", "st", 0.01, 0), outcome(1.0, 2.0))
    with pytest.raises(ValueError, match="another file"):
        Results(path, Effort(), "abc")


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.csv", TINY, "abc-dirty")
    cell = Cell("vae", "bernoulli", "st", 3e-4, 2)
    results.append(cell, outcome(float("inf"), 2.0))
    (row,) = results.rows()
    assert row == row_of(cell, outcome(float("inf"), 2.0), "6/4/2/2/5/40", "abc-dirty")
    assert row.cell == cell


def test_rates_beside_the_grid_and_diverged_ones_choose_nothing() -> None:
    column, rows = Column("vae", "bernoulli"), list[Row]()
    for rate, valid in ((0.02, 1.0), (1e-2, float("nan")), (3e-3, 90.0)):
        rows.append(row_of(Cell(*column, "st", rate, 0), outcome(valid, 2.0)))
    assert [row.rate for row in chosen(rows, column, "st")] == [3e-3]
    assert next_cell(rows, column, "st", 3) == Cell(*column, "st", 1e-3, 0)


def rows_in(order: list[str], column: Column, step: float = 1.0) -> list[Row]:
    return [
        row_of(Cell(*column, name, 1e-2, seed), outcome(50.0, 60 + step * place + 0.1 * seed))
        for place, name in enumerate(order)
        for seed in range(3)
    ]


def test_the_table_shows_means_intervals_and_the_papers_numbers() -> None:
    column = Column("sbn", "categorical")
    table = estimator_table(rows_in(["gumbel", "st"], column))
    lines = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in table.splitlines()}
    assert lines["Gumbel-softmax"][2] == "60.1 +- 0.2 (59.0)"
    assert lines["straight-through"][2] == "61.1 +- 0.2 (61.8)"
    assert lines["DARN"][2] == "- (67.9)"
    assert "c0ffee" in table


@pytest.mark.parametrize(
    ("counts", "said"),
    [({"gumbel": 3, "st": 2, "darn": 1}, "1 to 3"), ({"st": 2}, "2"), ({}, "no")],
)
def test_the_table_says_over_how_many_seeds(counts: dict[str, int], said: str) -> None:
    rows = rows_in(list(counts), Column("sbn", "categorical"))
    table = estimator_table([row for row in rows if row.seed < counts[row.estimator]])
    assert f"interval over {said} seeds" in table


def test_agreement_counts_pairs_in_the_papers_order() -> None:
    column = Column("sbn", "categorical")
    papers = ["gumbel", "st_gumbel", "slope", "st", "muprop", "darn", "score"]
    (same,) = agreement(rows_in(papers, column), column)
    assert "best Gumbel-softmax (paper: Gumbel-softmax), worst score function" in same
    assert "21 of 21 pairs" in same
    assert same.endswith("none.")
    (other,) = agreement(rows_in(["st_gumbel", "gumbel", *papers[2:]], column), column)
    assert "20 of 21 pairs" in other
    assert other.endswith("Gumbel-softmax and ST Gumbel-softmax.")
    (close,) = agreement(rows_in(["st_gumbel", "gumbel", *papers[2:]], column, 0.1), column)
    assert close.endswith("none.")


def test_the_papers_ties_are_no_pairs() -> None:
    column = Column("vae", "categorical")
    (line,) = agreement(rows_in(["slope", "st_gumbel"], column), column)
    assert "0 of 0 pairs" in line


def test_an_interval_is_students() -> None:
    assert interval([1.0]) == float("inf")
    assert interval([0.0, 1.0, 2.0]) == pytest.approx(4.30 / 3**0.5)


@pytest.mark.parametrize(("epochs", "patience"), [(1, 9), (3, 9), (9, 1), (9, 3)])
def test_every_cell_is_validated_at_its_end(epochs: int, patience: int) -> None:
    """However short it is: weights that were never validated would be those of the beginning."""
    effort = Effort(epochs, patience, valid_every=5, valid_samples=2, test_samples=2, batch_size=40)
    trainer = Trainer(Cell("sbn", "bernoulli", "st", 1e-2, 0), DIGITS, effort)
    before = trainer.model.bound(DIGITS.test, 2).mean().item()
    outcome = trainer.run()
    assert outcome.epochs >= min(epochs, patience)
    assert 0 < outcome.best_epoch <= outcome.epochs
    assert outcome.valid < float("inf")
    assert outcome.test < before


@pytest.mark.parametrize("name", ["epochs", "patience", "test_samples"])
def test_an_effort_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
        Effort(**{name: 0})


def test_what_has_diverged_is_no_number_of_the_table() -> None:
    column = Column("sbn", "bernoulli")
    lost = [row_of(Cell(*column, "st", 1e-2, 0), outcome(float("inf"), float("inf")))]
    table = estimator_table([*lost, *rows_in(["gumbel"], column)])
    assert "| straight-through | diverged (58.9) |" in table
    assert "over 3 seeds" in table
    assert agreement(lost, column) == []


def test_two_processes_keep_a_cell_once(tmp_path: Path) -> None:
    """And one that was killed while writing spoils nothing."""
    path, cell = tmp_path / "results.csv", Cell("vae", "bernoulli", "st", 1e-2, 0)
    one, other = Results(path, TINY, "abc"), Results(path, TINY, "abc")
    one.append(cell, outcome(1.0, 2.0))
    other.append(cell, outcome(1.0, 2.0))
    assert len(read_rows(path)) == 1
    with path.open("a") as file:
        file.write("vae,bernoulli,gumbel,0.01,0,4")
    assert len(read_rows(path)) == 1
    other.append(cell._replace(seed=1), outcome(1.0, 2.0))
    assert [row.seed for row in read_rows(path)] == [0, 1]
    with pytest.raises(ValueError, match="another file"):
        Results(path, Effort(), "abc").append(cell, outcome(1.0, 2.0))


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("task,ki")  # a process was killed at its first line
    assert read_rows(path) == []
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"other\.csv does not hold finished cells"):
        read_rows(path)
