"""What the tables of larger training are computed from, against slower ways to find it."""

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from dreamzoo import DreamerV3
from dreamzoo.benchmark import scaling
from dreamzoo.benchmark.scaling import (
    BATCH,
    BYTES,
    IMAGE,
    LENGTH,
    busy_environments,
    exchange,
    learned_steps,
    record_bytes,
    update_cost,
    window_cost,
)
from dreamzoo.benchmark.speed.updates import count_gflop
from dreamzoo.benchmark.speed.work import PLAIN, Work, make_model
from dreamzoo.cli import main
from dreamzoo.common.arguments import constructor
from dreamzoo.testing.random_env import RandomEnv


def test_a_small_batch_tells_the_arithmetic_of_a_whole_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = constructor(DreamerV3).parameters
    assert (agent["batch_size"].default, agent["batch_length"].default) == (BATCH, LENGTH)
    # Counting multiplies as often as updating does, hence a whole one of fewer steps.
    batch, length = 4, 48
    monkeypatch.setattr(scaling, "BATCH", batch)
    monkeypatch.setattr(scaling, "LENGTH", length)
    work = Work(obs="image", size="debug", batch=batch, length=length)
    whole = make_model(work, PLAIN)
    assert update_cost("debug").gflop == pytest.approx(count_gflop(whole), rel=0.01)


def test_records_are_as_large_as_those_of_an_agent_that_learns_atari() -> None:
    image = spaces.Box(0, 255, (64, 64, 3), np.uint8)
    env = DummyVecEnv([lambda: RandomEnv(image, spaces.Discrete(18))])
    agent = DreamerV3("CnnPolicy", env, policy_kwargs={"size": "debug"}, buffer_size=1_000)
    replay = agent.learn(5).replay_buffer
    assert replay is not None
    assert record_bytes("debug") == replay.nbytes(1)


def test_a_window_reads_and_writes_what_that_of_an_agent_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env = DummyVecEnv([lambda: RandomEnv(IMAGE, spaces.Discrete(18))])
    small = {"size": "debug"}
    agent = DreamerV3("CnnPolicy", env, policy_kwargs=small, buffer_size=100, learning_starts=100)
    replay = agent.learn(LENGTH + 2).replay_buffer
    assert replay is not None
    batch = replay.sample(1)
    assert isinstance(batch.observations, Tensor)
    read = {"image": batch.observations, **batch.latents}
    written: dict[str, Tensor] = {}
    monkeypatch.setattr(replay._latents, "put", lambda _, values: written.update(values))
    again = {name: x[:, None].repeat_interleave(LENGTH, 1) for name, x in batch.latents.items()}
    replay.write_latents(batch.windows, again)
    assert window_cost("debug").read == sum(x.nbytes for x in read.values())
    assert window_cost("debug").written == sum(x.nbytes for x in written.values())


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_ranks_send_what_those_of_a_ring_send(ranks: int) -> None:
    """Each passes a sum on until every part is complete, then the complete parts."""
    gradients = np.random.default_rng(0).integers(0, 9, (ranks, ranks, 5))  # rank, part, number
    held, sent = gradients.copy(), np.zeros(ranks, int)
    for turn in range(2 * (ranks - 1)):
        before, adds = held.copy(), turn < ranks - 1
        for rank in range(ranks):
            part, to = (rank - turn) % ranks, (rank + 1) % ranks
            held[to, part] = before[rank, part] + (before[to, part] if adds else 0)
            sent[rank] += held[to, part].size
    np.testing.assert_array_equal(held, np.broadcast_to(gradients.sum(0), held.shape))
    found = exchange(gradients[0].size, update=1.0, ranks=ranks, bandwidth=1.0).megabytes
    np.testing.assert_allclose(sent * BYTES / 1e6, found)


@pytest.mark.parametrize("step", [0.1, 5.0, 50.0])
@pytest.mark.parametrize("ratio", [32.0, 512.0])
def test_the_number_of_environments_is_the_least_that_keeps_the_gpu_busy(
    step: float, ratio: float
) -> None:
    def share(n: int) -> float:
        acting = 0.5 + (n - 1) * 0.04
        learning = n / learned_steps(20.0, ratio) * 1e3
        return learning / (learning + acting + step)

    least = next(n for n in range(1, 10_000) if share(n) >= 0.9)
    assert busy_environments(20.0, (0.5, 1.1), step, ratio) == least


def test_no_number_is_enough_where_acting_costs_more_than_learning_is_worth() -> None:
    assert busy_environments(1.0, (0.5, 8.0), 1.0, 32.0) == 0


def test_an_update_is_for_as_many_steps_as_the_train_ratio_says() -> None:
    updates_a_second = 1e3 / 20.0
    assert learned_steps(20.0, 32.0) * 32.0 == pytest.approx(updates_a_second * BATCH * LENGTH)


def test_the_command_prints_all_tables(capsys: pytest.CaptureFixture[str]) -> None:
    main(["scaling", "--sizes", "debug", "--of", "debug", "--ranks", "2"])
    gradients, replay, reading, feeding = capsys.readouterr().out.strip().split("\n\n")
    assert "each of 2 ranks sends" in gradients
    assert "| debug | 12.3 | 12 GB |" in replay
    assert "| debug | 53.5 | 856 | 0.79 | 0.67 |" in reading
    assert feeding.startswith("| debug: train ratio |")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sizes", "13m", "--of", "debug"], "13m"),
        (["--update", "0"], "give positive milliseconds"),
        (["--acting", "1", "-1"], "give positive milliseconds"),
        (["--ranks", "1"], "at least 2"),
    ],
)
def test_what_cannot_be_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        main(["scaling", *arguments])
    assert said in str(error.value) + capsys.readouterr().err
