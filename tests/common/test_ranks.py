"""One agent on several ranks: processes that make the same updates, and stop together."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dreamzoo import AGENTS, DiscreteSAC, DreamerV3
from dreamzoo.common.storage.container import FileError
from dreamzoo.common.storage.saves import newest
from dreamzoo.nn.fast import ranks

SCRIPT = Path(__file__).with_name("rank_scenarios.py")
LEARNERS = ("dreamer_v3", "dreamer_v2", "dreamer_v2_vq", "dreamer_v1", "planet", "merlin")
#: Of agents with and without a replay.
RESUMED = ("dreamer_v3", "merlin")
FEW = 40  # steps


def begin(folder: Path, count: int, *scenarios: str) -> list["subprocess.Popen[str]"]:
    """Start ranks as torchrun does, each with output of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = []
    for index in range(count):
        own = {"RANK": index, "LOCAL_RANK": index, "OMP_NUM_THREADS": 1, **shared}
        env = {**os.environ, **{name: str(value) for name, value in own.items()}}
        command = [sys.executable, str(SCRIPT), str(folder), *scenarios]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True))
    return started


def run(folder: Path, count: int, *scenarios: str) -> None:
    """Let ranks do something, and fail with what they say if they fail."""
    started = begin(folder, count, *scenarios)
    try:
        said = [rank.communicate(timeout=600)[1][-3000:] for rank in started]
    finally:
        for rank in started:
            rank.kill()
    assert not any(rank.returncode for rank in started), "\n".join(said)


def found(folder: Path, scenario: str, count: int = 2) -> list[dict[str, Any]]:
    """Read what every rank has found."""
    name = scenario.replace(":", "_")
    return [json.loads((folder / f"{name}.{index}.json").read_text()) for index in range(count)]


def assert_equal_ranks(folder: Path, name: str, steps: int, count: int) -> None:
    """Look whether ranks have learned the same from what each of them has seen."""
    states = found(folder, f"learn:{name}*{steps}", count)
    for key in ("bits", "counters"):
        assert len({json.dumps(state[key]) for state in states}) == 1, key
    assert states[0]["counters"][1] > 2
    assert states[0]["bits"] != states[0]["began"]
    assert len({state["seen"] for state in states}) == count


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Let two ranks do everything that is looked at here; starting them takes longest."""
    folder = tmp_path_factory.mktemp("ranks")
    learning = [f"learn:{name}*{FEW}" for name in LEARNERS]
    gradients = [f"gradient:{name}" for name in LEARNERS]
    resuming = [f"resumed:{name}" for name in RESUMED]
    stopping = [f"stopped:{name}" for name in RESUMED]
    various = ["statistics", "refused", "again", "short"]
    run(folder, 2, *various, *stopping, *learning, *gradients, *resuming)
    return folder


@pytest.mark.parametrize("name", LEARNERS)
def test_gradients_are_those_of_one_process_with_both_batches(two_ranks: Path, name: str) -> None:
    for rank in found(two_ranks, f"gradient:{name}"):
        assert rank["off"] < 1e-5
        assert rank["alone"] > 1e-2  # of its own batch, without the other's


def test_averages_are_those_of_one_process_with_both_batches(two_ranks: Path) -> None:
    first, second = found(two_ranks, "statistics")
    assert first["joint"] == second["joint"] == first["whole"]


def test_images_begin_at_the_mean_color_of_all_ranks(two_ranks: Path) -> None:
    for rank in found(two_ranks, "statistics"):
        assert rank["color"] == pytest.approx((51 + 102) / 2 / 255 - 0.5)


def test_who_computes_losses_for_himself_asks_nobody(two_ranks: Path) -> None:
    first, second = found(two_ranks, "statistics")
    assert first["own"] != second["own"]


@pytest.mark.parametrize("name", LEARNERS)
def test_ranks_stay_equal_to_the_bit(two_ranks: Path, name: str) -> None:
    assert_equal_ranks(two_ranks, name, FEW, 2)


def test_windows_of_short_replays_are_equally_long(two_ranks: Path) -> None:
    first, second = found(two_ranks, "short")
    assert first["counters"] == second["counters"]
    assert first["bits"] == second["bits"]


def test_steps_of_all_ranks_are_counted(two_ranks: Path) -> None:
    first, second = found(two_ranks, f"learn:dreamer_v3*{FEW}")
    assert first["first"] == list(range(2, FEW + 1, 2))  # two ranks of one environment
    # The first update as soon as the replays hold a batch of one row each, then every 2 steps.
    starts = 2 * DreamerV3.smallest["batch_length"]  # so many windows, each as long and one
    assert first["counters"][:2] == [FEW, 1 + (FEW - 2 * starts) // 2]
    assert second["counters"] == first["counters"]


def test_the_first_rank_alone_logs_and_calls_callbacks(two_ranks: Path) -> None:
    first, second = found(two_ranks, f"learn:dreamer_v3*{FEW}")
    assert first["logs"] > 0
    assert second["logs"] == 0
    assert second["first"] == []
    assert second["all"] == first["first"]  # the one that asks for all ranks


@pytest.mark.parametrize("name", RESUMED)
def test_a_callback_of_any_rank_stops_all_at_the_same_step(two_ranks: Path, name: str) -> None:
    first, second = found(two_ranks, f"stopped:{name}")
    assert first["counters"][0] == second["counters"][0] == 20
    assert first["bits"] == second["bits"]
    assert first["after"] == second["after"] == 28  # a whole window of both
    assert newest(two_ranks / f"stopped_{name}").name.startswith(f"{20:012d}")


def test_who_has_ended_in_another_team_is_looked_after_again(two_ranks: Path) -> None:
    for rank in found(two_ranks, "again"):
        assert rank["ended"] == [[False, False], [False, False]]


def test_ranks_with_other_settings_are_refused(two_ranks: Path) -> None:
    for rank in found(two_ranks, "refused"):
        assert "gamma differs (rank 0: 0.9, rank 1: 0.91)" in rank["error"]


@pytest.mark.parametrize("name", RESUMED)
def test_a_saved_training_goes_on_exactly_on_all_ranks(two_ranks: Path, name: str) -> None:
    for rank in found(two_ranks, f"resumed:{name}"):
        assert rank["loaded"] == rank["saved"]
        assert rank["resumed"] == rank["whole"]
        assert rank["whole"]["bits"] != rank["saved"]["bits"]


@pytest.mark.parametrize("name", RESUMED)
def test_another_number_of_ranks_cannot_go_on(two_ranks: Path, name: str) -> None:
    folder = two_ranks / f"saves_{name}"
    agent: Any = AGENTS[name].load(folder, device="cpu")  # to act, anyone can
    with pytest.raises(FileError, match=r"training of 2 ranks.*torchrun --nproc_per_node=2"):
        agent.resume(folder)


def test_a_replay_of_one_of_several_ranks_begins_new_episodes(two_ranks: Path) -> None:
    folder = two_ranks / "saves_dreamer_v3"
    agent: Any = DreamerV3.load(folder, device="cpu")
    with pytest.warns(UserWarning, match="of 2 ranks, and this is one of 1"):
        agent.load_replay_buffer(folder)
    assert agent.replay_buffer.size() == 20


@pytest.fixture
def third_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a rank, as far as one knows before the others are met."""
    for name, value in zip(ranks.VARIABLES, ("2", "3", "127.0.0.1", "1"), strict=True):
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("third_of_three")
def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batch_size=16 .*3 ranks.*Use 15 or 18"):
        DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))


@pytest.mark.usefixtures("third_of_three")
def test_a_rank_has_its_share_and_its_own_seed() -> None:
    given = {**DreamerV3.smallest, "batch_size": 3, "buffer_size": 3_000, "seed": 4}
    agent: Any = DreamerV3("MlpPolicy", "CartPole-v1", **given)
    assert agent.replay_buffer.buffer_size == 1_000
    assert agent.buffer_size == 3_000
    assert agent.seed == 4
    assert agent.env._seeds == [ranks.own_seed(4)] != [4]


@pytest.mark.usefixtures("third_of_three")
def test_an_agent_that_cannot_learn_on_ranks_says_so() -> None:
    agent = DiscreteSAC("MlpPolicy", "CartPole-v1", **DiscreteSAC.smallest)
    with pytest.raises(ValueError, match="DiscreteSAC learns in one process"):
        agent.learn(10)


def test_a_rank_that_raises_stops_the_others_and_is_named(tmp_path: Path) -> None:
    first, second = begin(tmp_path, 2, "raises")
    _, error = second.communicate(timeout=300)
    assert "this environment is broken" in error
    ended = time.monotonic()
    _, error = first.communicate(timeout=60)  # it was busy for longer
    assert time.monotonic() - ended < 30
    assert "RankError: Training stops on all ranks, since rank 1 of 2" in error
    assert "ValueError: this environment is broken" in error
    assert "Traceback" in error  # raised, so that a script can tidy up
    assert (newest(tmp_path / "saves") / "replay_buffer_rank1of2.npz").exists()


# ------------------------------------------------------------------ minutes


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_ranks_stay_equal_over_200_updates(tmp_path: Path, count: int) -> None:
    steps = {name: 440 * (2 if count == 4 else 1) for name in LEARNERS} | {"merlin": 804 * count}
    run(tmp_path, count, *(f"learn:{name}*{steps[name]}" for name in LEARNERS))
    for name in LEARNERS:
        assert_equal_ranks(tmp_path, name, steps[name], count)
        assert found(tmp_path, f"learn:{name}*{steps[name]}", count)[0]["counters"][1] >= 200


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dreamer_v2", "dreamer_v1", "planet"])
def test_every_agent_goes_on_exactly(tmp_path: Path, name: str) -> None:
    run(tmp_path, 2, f"resumed:{name}")
    for rank in found(tmp_path, f"resumed:{name}"):
        assert rank["loaded"] == rank["saved"]
        assert rank["resumed"] == rank["whole"]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "index"), [(2, 1), (4, 1), (2, 0)])
def test_a_killed_rank_stops_the_others_and_its_training_goes_on(
    tmp_path: Path, count: int, index: int
) -> None:
    others = begin(tmp_path, count, f"killed:{index}")
    others.pop(index).wait(timeout=300)
    ended = time.monotonic()
    for other in others:
        _, error = other.communicate(timeout=60)
        assert f"RankError: Training stops on all ranks, since rank {index}" in error
    assert time.monotonic() - ended < 30
    steps = int(newest(tmp_path / "saves").name[:12])
    assert steps >= 20
    run(tmp_path, count, "resumed_from", f"learn:dreamer_v3*{steps + 24}")
    undisturbed = found(tmp_path, f"learn:dreamer_v3*{steps + 24}", count)
    for resumed, whole in zip(found(tmp_path, "resumed_from", count), undisturbed, strict=True):
        assert resumed == {name: whole[name] for name in resumed}
