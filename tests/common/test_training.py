"""Averages that the log shows."""

import pytest
import torch as th

from dreamzoo.common.training import MeanMetrics, to_means


def test_means_are_over_updates_and_elements() -> None:
    metrics = MeanMetrics()
    values = {"a": th.tensor([1.0, 3.0]), "b": th.tensor(5.0, requires_grad=True)}
    metrics.add(to_means(values))
    metrics.add(to_means({"a": th.tensor(8.0)}))
    assert metrics.means() == pytest.approx({"a": 5.0, "b": 5.0})


def test_no_update_gives_no_means() -> None:
    assert MeanMetrics().means() == {}
