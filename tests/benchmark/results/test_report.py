"""The page, the pictures and the table of results."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from dreamzoo.benchmark.results import Evaluation, read_rows, result_table
from dreamzoo.benchmark.results.evaluations import ends
from dreamzoo.benchmark.results.plot import plot_results
from dreamzoo.benchmark.results.report import report
from dreamzoo.benchmark.results.table import either

OWN = Path(__file__).parents[3] / "scripts" / "results" / "dmc_proprio.csv"
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Checks that tags are closed; gathers what they say."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.targets: set[str] = set()
        self.links: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {key: value or "" for key, value in attrs}
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [named["src"]] if "src" in named else []
        self.targets |= {named["id"]} if "id" in named else set()
        self.links |= {named["href"]} if "href" in named else set()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def row(agent: str, seed: int, frames: int, value: float, task: str = "CartPole-v1") -> Evaluation:
    return Evaluation(agent, task, seed, frames, frames, value, 1.0, 10, 0, "abc")


def test_a_page_needs_no_other_file() -> None:
    rows = read_rows(OWN)
    frames = ends(rows)
    found = read(report(rows, frames, title="Own <runs> & published", commands=["a 'b <c>'"]))
    assert "Own <runs> & published" in found.text
    assert "a 'b <c>'" in found.text
    assert len(found.sources) == len(frames) + 1  # a picture of all tasks together
    assert all(source.startswith("data:image/png;base64,") for source in found.sources)
    assert {link.removeprefix("#") for link in found.links} == found.targets
    assert found.text.count("DreamerV3") >= 1 + 3 * len(frames)  # every seed of every task


def test_all_tasks_have_a_column_where_there_are_three_with_three_seeds() -> None:
    rows = read_rows(OWN)
    frames = ends(rows)
    table = result_table(rows, frames)
    assert table.heads[-1] == "all tasks"
    column = {cells[0]: cells[-1] for cells in table.rows}
    assert column["PPO, published"] == "-"
    scores = {
        agent: [float(x) for x in re.findall(r"\d\.\d\d", column[agent])]
        for agent in ("DreamerV3", "SAC", "PPO")
    }
    assert all(low <= iqm <= high for iqm, low, high in scores.values())
    assert "interquartile mean" in table.caption
    assert "of returns from 0 to 1: divided by 1000." in table.caption
    few = dict(list(frames.items())[:2])
    assert result_table(rows, few).heads == ["agent", "cartpole-swingup", "reacher-easy"]


def test_seeds_that_have_not_come_so_far_are_left_out_of_the_mean() -> None:
    rows = [row("ppo", seed, x, x + seed) for seed in (0, 2) for x in (100, 200)]
    rows += [row("ppo", 1, 100, 0.0)]
    table = result_table(rows, ends(rows), window=100)
    assert table.rows[0][1] == "201 (200 to 202; 2)"
    axis = plot_results(rows, {"CartPole-v1": 200}).axes[0]
    (mean,) = (line for line in axis.lines if line.get_label() == "PPO")
    assert np.asarray(mean.get_xdata()).tolist() == [100]
    assert np.asarray(mean.get_ydata()).tolist() == [pytest.approx((100 + 102 + 0) / 3)]
    assert len(axis.lines) == 1 + 3  # and each seed


def test_tasks_of_one_name_are_told_apart() -> None:
    rows = [row("ppo", 0, 100, 1.0, task) for task in ("dmc/walker-walk", "dmc_pixels/walker-walk")]
    assert result_table(rows, ends(rows)).heads[1:] == ["dmc/walker-walk", "dmc_pixels/walker-walk"]


def test_published_curves_end_where_the_own_do() -> None:
    rows = [row("sac", 0, x, 5.0, "dmc/walker-walk") for x in (30_000, 60_000)]
    axis = plot_results(rows, ends(rows)).axes[0]
    (line,) = (x for x in axis.lines if x.get_label() == "DreamerV3, published")
    assert np.asarray(line.get_xdata()).tolist() == [12_250, 36_750]
    assert axis.get_xlim() == (0, 60_000)


def test_the_level_of_random_actions_is_drawn_where_it_is_known() -> None:
    labels = [
        [
            line.get_label()
            for line in plot_results([row("ppo", 0, 9, 1.0, task)], {task: 9}).axes[0].lines
        ]
        for task in ("crafter", "CartPole-v1")
    ]
    assert "random actions" in labels[0]
    assert "random actions" not in labels[1]


def test_numbers_of_many_tasks_are_given_by_their_ends() -> None:
    assert either([5, 3_000, 5]) == "5 or 3,000"
    assert either([4, 3, 2, 1]) == "1 to 4"
