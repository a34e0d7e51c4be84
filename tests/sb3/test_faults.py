"""Disks that are full, folders that cannot be written, models that are destroyed."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from dreamzoo.analysis.callbacks import SaveCallback
from dreamzoo.common.last_good import not_finite
from dreamzoo.common.storage.saves import newest
from tests.facts import HAS_REPLAY
from tests.resuming import has_replay
from tests.sb3.conftest import of_replays
from tests.sb3.stored import n_steps

FullDisk = Callable[[int], AbstractContextManager[None]]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def keep_of(agent: Any) -> Callable[[Path], None]:
    """Return what saves all that an agent keeps beside its own file."""
    return agent.save_replay_buffer if has_replay(agent) else agent.save_training_state


class During(BaseCallback):
    """
    Does something between two steps.

    :param step: of the VecEnv
    :param action: what
    """

    def __init__(self, step: int, action: Callable[[], Any]) -> None:
        super().__init__()
        self.step, self.action = step, action

    def _on_step(self) -> bool:
        if self.n_calls == self.step:
            self.action()
        return True


# ---------------------------------------------------------------------- files


def test_a_full_disk_leaves_the_older_files(
    make_agent: Any, tmp_path: Path, full_disk: FullDisk
) -> None:
    agent = make_agent().learn(24)
    for save, name in [(agent.save, "model.zip"), (keep_of(agent), "kept.pkl")]:
        save(tmp_path / name)
        before = files(tmp_path)
        with full_disk(1000), pytest.raises(OSError, match=rf"Make room.*{name}"):
            save(tmp_path / name)
        assert files(tmp_path) == before
    assert type(agent).load(tmp_path / "model").num_timesteps == 24
    load = agent.load_replay_buffer if has_replay(agent) else agent.load_training_state
    load(tmp_path / "kept.pkl", trusted=True)
    agent.learn(8, reset_num_timesteps=False)


def test_a_place_that_cannot_be_written_is_named(make_agent: Any, tmp_path: Path) -> None:
    agent, below = make_agent(), tmp_path / "file" / "model.zip"
    below.parent.touch()
    for save in (agent.save, keep_of(agent)):
        with pytest.raises(NotADirectoryError, match=r"another folder.*file/model\.zip"):
            save(below)
    with pytest.raises(OSError, match=r"nothing could be saved in this folder.*file/runs"):
        agent.learn(8, callback=SaveCallback(tmp_path / "file" / "runs", 4))
    assert agent.num_timesteps == 0
    assert agent.learn(8).num_timesteps == 8


def test_folders_are_made(make_agent: Any, tmp_path: Path) -> None:
    agent = make_agent()
    with pytest.warns(UserWarning, match=r"The folder .*new/er is new"):
        agent.save(str(tmp_path / "new" / "er" / "model"))
    assert type(agent).load(tmp_path / "new" / "er" / "model.zip").num_timesteps == 0


def test_training_goes_on_when_a_save_fails_on_the_way(
    make_agent: Any, make_env: Any, agent_name: str, tmp_path: Path, full_disk: FullDisk
) -> None:
    env = VecNormalize(DummyVecEnv([make_env]))
    agent = make_agent(env, **({"n_steps": 5} if agent_name not in HAS_REPLAY else {}))
    held: list[AbstractContextManager[None]] = []

    def fill() -> None:
        held.append(full_disk(1000))
        held[0].__enter__()

    def clear() -> None:
        held[0].__exit__(None, None, None)
        shutil.copytree(saves, tmp_path / "at 25")

    saves = tmp_path / "saves"
    callbacks = [SaveCallback(saves, 10), During(15, fill), During(25, clear)]
    with pytest.warns(UserWarning, match=r"model\.zip'\. Training goes on; the next save is due"):
        agent.learn(30, callback=callbacks)
    kept = "replay_buffer.npz" if has_replay(agent) else "training_state.zip"
    copies = f"{kept[:-4]}.environments.zip"
    for folder, steps in ((tmp_path / "at 25", 10), (saves, 30)):
        assert len(list(folder.glob("0*"))) == 1
        names = {path.name for path in newest(folder).iterdir()}
        assert names == {"model.zip", "vecnormalize.zip", kept, copies}
        assert type(agent).load(folder).num_timesteps == steps


def test_the_last_save_does_not_fail_without_a_word(
    make_agent: Any, tmp_path: Path, full_disk: FullDisk
) -> None:
    agent = make_agent()
    agent.learn(12, callback=SaveCallback(tmp_path, 12))
    before = files(tmp_path)
    with full_disk(1000), pytest.raises(OSError, match=r"Make room.*model\.zip"):
        agent.learn(12, callback=SaveCallback(tmp_path, 1000), reset_num_timesteps=False)
    assert agent.num_timesteps == 24
    assert files(tmp_path) == before
    agent.save(tmp_path / "model")


def test_training_goes_on_when_the_log_cannot_be_written(make_agent: Any, tmp_path: Path) -> None:
    (tmp_path / "progress.json").symlink_to("/dev/full")
    agent = make_agent()
    agent.set_logger(configure(str(tmp_path), ["json"]))
    with pytest.warns(UserWarning, match=r"log in .* cannot be written: .*No space left.*on;"):
        agent.learn(32, log_interval=1)
    assert agent.num_timesteps == 32
    assert agent._n_updates > 0


# ---------------------------------------------------------------------- destroyed models


def poison(agent: Any) -> None:
    """Make the next loss NaN."""
    if has_replay(agent):
        agent.replay_buffer.rewards[:] = np.nan
    else:
        for step in agent.rollout_buffer._steps:
            step[2][:] = np.nan


def test_a_loss_that_is_not_finite_is_named_where_the_model_cannot_be_saved(
    make_agent: Any, update: Any, tmp_path: Path
) -> None:
    agent = make_agent().learn(24)
    (tmp_path / "file").touch()
    poison(agent)
    agent.logger.dir = str(tmp_path / "file" / "logs")
    bad = "reward" if has_replay(agent) else "policy"
    expected = rf"{bad} = nan, .*The parameters, .* could not be saved: .*Not a direc.*"
    with pytest.raises(FloatingPointError, match=expected + r"last_good_24.*Call model\.save\(\)"):
        update(agent)
    agent.save(tmp_path / "model")
    assert not not_finite(type(agent).load(tmp_path / "model").get_parameters())


@pytest.mark.parametrize("part", ["parameter", "buffer", "optimizer"])
def test_a_model_that_is_not_good_is_not_called_so(
    make_agent: Any, update: Any, tmp_path: Path, part: str
) -> None:
    agent = make_agent().learn(24)
    state = next(s for s in agent.policy.optimizer.state.values() if s)
    tensors = {
        "parameter": next(agent.policy.parameters()).data,
        "optimizer": next(x for x in state.values() if x.dim()),
        "buffer": agent.policy.state_dict().get("return_normalizer.high_value"),
    }
    if tensors[part] is None:
        pytest.skip("has no such buffer")
    tensors[part].view(-1)[-1] = np.inf
    agent.logger.dir = str(tmp_path)
    poison(agent)
    with pytest.raises(FloatingPointError, match=r"destroyed, too \(policy.*go back to your last"):
        update(agent)
    assert not list(tmp_path.iterdir())


def test_a_destroyed_model_replaces_no_good_one(
    make_agent: Any, update: Any, tmp_path: Path
) -> None:
    agent = make_agent()
    agent.learn(20, callback=SaveCallback(tmp_path, 10))
    agent.logger.dir = str(tmp_path)
    before = files(tmp_path)
    next(agent.policy.parameters()).data[:] = np.nan
    callback = SaveCallback(tmp_path, 10)
    callback.init_callback(agent)
    with pytest.raises(FloatingPointError, match=r"destroyed .* not saved; the last save"):
        callback.save()
    with pytest.raises(FloatingPointError, match=r"the last good ones are in .*/model\.zip\."):
        update(agent)
    assert files(tmp_path) == before
    assert not not_finite(type(agent).load(tmp_path).get_parameters())


def test_a_learning_rate_that_destroys_is_told_as_it_is(make_agent: Any, tmp_path: Path) -> None:
    agent = make_agent(learning_rate=1e35)
    agent.set_logger(configure(str(tmp_path), ["json"]))
    with pytest.raises(FloatingPointError, match=r"are destroyed, too.*lower learning_rate"):
        agent.learn(200)
    assert not list(tmp_path.glob("*.zip"))


@pytest.mark.usefixtures("actor_critic")
def test_no_environment_gets_actions_of_a_destroyed_model(
    make_agent: Any, make_env: Any, still: Any
) -> None:
    env = make_env(length=1000)
    agent = make_agent(DummyVecEnv([lambda: env]), **still(12)).learn(12)
    for parameter in agent.policy.parameters():
        parameter.data[:] = np.nan
    with pytest.raises(FloatingPointError, match=r"The action is not finite at step 12, .*destroy"):
        agent.learn(8, reset_num_timesteps=False)
    assert len(env.actions) == 12
    assert n_steps(agent) == (12 if has_replay(agent) else 0)  # of the window that follows


@of_replays
@pytest.mark.usefixtures("actor_critic")
def test_the_replay_survives_a_destroyed_model(make_agent: Any) -> None:
    """Actions of a discrete space are numbers whatever the model is."""
    agent = make_agent("CartPole-v1", gradient_steps=0).learn(12)
    if not agent.latent_spec():
        pytest.skip("keeps no latents in its replay")
    for parameter in agent.policy.parameters():
        parameter.data[:] = np.nan
    agent.learn(12, reset_num_timesteps=False)
    latents = agent.replay_buffer.latents["deter"]
    assert np.isfinite(latents).all()
    assert np.abs(latents[:12]).sum() > 0
