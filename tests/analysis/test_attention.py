"""What an agent reads from its external memory is what it computed with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th

from dreamzoo import MERLIN, RLLSTM, RLMEM
from dreamzoo.analysis.attention import Attention, attention_figure, read_attention
from dreamzoo.envs import TMazeVectorEnv, VectorEnvToVecEnv


def _maze() -> VectorEnvToVecEnv:
    return VectorEnvToVecEnv(TMazeVectorEnv(3, length=5))


@pytest.mark.parametrize("kind", [MERLIN, RLMEM])
def test_weights_are_those_of_what_was_read(kind: type[MERLIN] | type[RLMEM]) -> None:
    env = _maze()
    agent: Any = kind("MlpPolicy", env, **kind.smallest, seed=0)
    env.seed(7)
    seen = read_attention(agent, env)
    assert seen.weights.shape == (6, 1 if kind is MERLIN else 2, 8)
    assert not seen.weights[0].any()
    for t, weights in enumerate(seen.weights[1:], 1):
        np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
        assert not weights[:, t:].any()  # written later
    env.seed(7)
    obs: Any = env.reset()
    state = agent.policy.initial_state(3)
    is_first = th.ones(3, dtype=th.bool)
    for t in range(6):
        before = state
        action, state = agent.policy.act(th.as_tensor(obs), state, is_first, deterministic=True)
        rows = agent.policy.rows_of(state if kind is MERLIN else before)
        read = state.own.read if kind is MERLIN else state.reading.read
        expected = th.as_tensor(seen.weights[t]) @ rows.content[0]
        th.testing.assert_close(read[0], expected.flatten())
        obs, reward, dones, _ = env.step(agent.policy.to_env_action(action.numpy()))
        assert seen.rewards[t] == reward[0]
        state = agent.policy.told(state, th.as_tensor(np.float32(reward)))
        is_first = th.as_tensor(dones)


def test_an_agent_without_a_memory_reads_nothing() -> None:
    env = _maze()
    with pytest.raises(ValueError, match="no memory that could have been read"):
        read_attention(RLLSTM("MlpPolicy", env, **RLLSTM.smallest), env)


def test_a_column_of_the_picture_is_a_step() -> None:
    weights = np.random.default_rng(0).random((4, 2, 6))
    first, second, _ = attention_figure(Attention(weights, np.zeros(4))).axes
    for k, ax in enumerate((first, second)):
        np.testing.assert_array_equal(ax.images[0].get_array(), weights[:, k, :4].T)


def test_the_picture_says_that_rows_were_written_again() -> None:
    for steps, again in ((6, False), (7, True)):
        ax = attention_figure(Attention(np.zeros((steps, 1, 6)), np.zeros(steps))).axes[0]
        assert ("became full" in ax.get_ylabel()) == again


def test_the_command_draws_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dreamzoo.cli import main

    env, path = _maze(), tmp_path / "model.zip"
    RLMEM("MlpPolicy", env, **RLMEM.smallest, seed=0).save(path)
    maze = ["--env", "dreamzoo/TMaze-v0", "-e", "length=5"]
    picture = tmp_path / "new" / "read.png"
    main(["attention", "--model", str(path), *maze, "--out", str(picture)])
    said = capsys.readouterr().out
    assert '"steps": 6' in said
    assert picture.stat().st_size > 1000
    main(["attention", "--model", str(path), *maze, "--steps", "4", "--out", str(tmp_path / "no")])
    assert '"steps": 4' in capsys.readouterr().out  # of six
    assert (tmp_path / "no.png").stat().st_size > 1000
    RLLSTM("MlpPolicy", env, **RLLSTM.smallest, seed=0).save(path)
    with pytest.raises(SystemExit, match=r"RLLSTM .* has no external memory"):
        main(["attention", "--model", str(path), *maze])
