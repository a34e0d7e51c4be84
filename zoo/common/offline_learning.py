"""Learning from what others have recorded, without an environment."""

import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.utils import check_for_correct_spaces, configure_logger
from stable_baselines3.common.vec_env import VecEnv, VecTransposeImage, unwrap_vec_wrapper

from dreamzoo.common.buffers import SequenceBatch, SequenceReplayBuffer
from dreamzoo.common.ranked import Ranked, on_all_ranks
from dreamzoo.common.recording import Recording
from dreamzoo.nn.process import restores_process
from dreamzoo.nn.settings import Whole, read_settings

if TYPE_CHECKING:
    from dreamzoo.common.replay_agent import ReplayAgent

SelfOfflineLearning = TypeVar("SelfOfflineLearning", bound="OfflineLearning")


class OfflineLearning(Ranked):
    """
    What agents with a replay can do with a recording.

    :param args: of the algorithm
    :param kwargs: of the algorithm
    """

    def fit_replay(self: SelfOfflineLearning, recording: Recording) -> SelfOfflineLearning:
        """
        Put recorded episodes into the replay, behind what is there already.

        Example:
            >>> import numpy as np
            >>> from dreamzoo import DreamerV3
            >>> from dreamzoo.offline import Episode, Recording
            >>> from gymnasium import spaces
            >>> episode = Episode(np.zeros((21, 3)), np.zeros(20, int), np.ones(20), True)
            >>> recording = Recording(spaces.Box(-1, 1, (3,)), spaces.Discrete(2), [episode] * 5)
            >>> small = dict(size="debug")
            >>> model = DreamerV3("MlpPolicy", recording.env(), policy_kwargs=small)
            >>> model.fit_replay(recording).learn_offline(2).num_timesteps
            2

        :param recording: of an environment with the agent's spaces
        :return: the agent
        :raises ValueError: for other spaces, for values outside of them, for an agent with several
            environments or behind a ``VecNormalize``, and if the replay has no room for
            all of it; nothing was stored then, but the episodes before a wrong one, which is named
        """
        agent = cast("ReplayAgent", self)
        buffer = agent.replay_buffer
        assert buffer is not None
        seen = _as_seen_by(agent, recording)
        records = recording.steps + len(recording)  # an episode's last observation is one, too
        free = buffer.buffer_size - buffer.size()
        if records > free:
            raise ValueError(
                f"{recording.name} has {records:,} records (steps, and the last observation of "
                f"every episode), and the replay has room for {free:,} of buffer_size="
                f"{buffer.buffer_size:,}. Make the agent with a larger buffer_size, or take a part "
                "of the recording: recording[:100]."
            )
        buffer.check_memory(records)
        with buffer.recorded():
            for index in range(len(recording)):
                _store(_steps(agent, recording, index, seen), buffer)
        return self

    def read_episode(self, recording: Recording, index: int) -> SequenceBatch:
        """
        Read an episode of n steps as the agent would read it of its replay.

        :param recording: of an environment with the agent's spaces
        :param index: of the episode
        :return: all of it in one row, (1, n + 1)
        :raises ValueError: for other spaces, and for values outside of them, as :meth:`fit_replay`
        """
        agent = cast("ReplayAgent", self)
        steps = _steps(agent, recording, index, _as_seen_by(agent, recording))
        records = len(steps) + 1
        buffer = SequenceReplayBuffer(
            records,
            agent.observation_space,
            agent.action_space,
            agent.device,
            batch_length=records,
        )
        _store(steps, buffer)
        return buffer.sample(1, online=False)  # there is but one window

    @restores_process
    @on_all_ranks
    def learn_offline(
        self: SelfOfflineLearning,
        updates: int,
        callback: MaybeCallback = None,
        log_interval: int = 100,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfOfflineLearning:
        """
        Learn from the replay alone: from a recording, or from what was loaded.

        An update takes the place of a step: ``num_timesteps`` counts updates, callbacks are
        called after each, schedules go by their share that is left. A ``SaveCallback`` saves at
        log lines.

        :param updates: their number
        :param callback: called after every update
        :param log_interval: updates between two log lines
        :param tb_log_name: name of the TensorBoard run; None: that of the agent's class
        :param reset_num_timesteps: False goes on with the counters
        :param progress_bar: show a progress bar (needs tqdm and rich)
        :return: the agent
        :raises ValueError: if the replay is empty
        """
        agent = cast("ReplayAgent", self)
        read_settings("learn_offline()", {"updates": Whole(1), "log_interval": Whole(1)}, locals())
        agent._check_settings()
        if agent.replay_buffer is None or not agent.replay_buffer.n_windows(1):
            raise ValueError(
                "The replay is empty: fit_replay(recording) or load_replay_buffer(path) first."
            )
        name = tb_log_name or type(agent).__name__
        total, callback = _begin(agent, updates, callback, reset_num_timesteps, name, progress_bar)
        callback.on_training_start(locals(), globals())

        def after_update() -> bool:
            agent.num_timesteps += 1
            agent._update_current_progress_remaining(agent.num_timesteps, total)
            callback.update_locals(locals())
            return callback.on_step()

        agent._update_current_progress_remaining(agent.num_timesteps, total)
        goes_on = True
        while goes_on and agent.num_timesteps < total:
            callback.on_rollout_start()  # between updates: a SaveCallback saves
            left = min(log_interval, total - agent.num_timesteps)
            goes_on = agent._train(left, agent.batch_size, after_update)
            agent.dump_logs()
        callback.on_training_end()
        return self


def _begin(
    agent: "ReplayAgent",
    updates: int,
    callback: MaybeCallback,
    reset_num_timesteps: bool,
    tb_log_name: str,
    progress_bar: bool,
) -> tuple[int, BaseCallback]:
    """Do what SB3's ``_setup_learn`` does, but for the reset of the environment."""
    agent.start_time = time.time_ns()
    if agent.ep_info_buffer is None or reset_num_timesteps:
        agent.ep_info_buffer = deque(maxlen=agent._stats_window_size)
        agent.ep_success_buffer = deque(maxlen=agent._stats_window_size)
    if reset_num_timesteps:
        agent.num_timesteps = agent._episode_num = 0
    agent._num_timesteps_at_start = agent.num_timesteps
    agent._total_timesteps = agent.num_timesteps + updates
    if not agent._custom_logger:
        agent._logger = configure_logger(
            agent.verbose, agent.tensorboard_log, tb_log_name, reset_num_timesteps
        )
    return agent._total_timesteps, agent._init_callback(callback, progress_bar)


def _as_seen_by(agent: "ReplayAgent", recording: Recording) -> VecEnv:
    """Wrap a recording's spaces as the agent wraps environments; refuse what does not fit."""
    if agent.n_envs != 1 or agent.get_vec_normalize_env() is not None:
        behind = "a VecNormalize" if agent.n_envs == 1 else f"{agent.n_envs} environments"
        raise ValueError(
            f"{type(agent).__name__} has {behind}; a recording is one stream of raw observations. "
            "Make the agent with recording.env()."
        )
    seen = agent._wrap_env(recording.env(), verbose=0, monitor_wrapper=False)
    check_for_correct_spaces(seen, agent.observation_space, agent.action_space)
    return seen


class _Step(NamedTuple):
    """What a replay is told of a step of one environment."""

    obs: Any
    after: Any
    action: np.ndarray
    reward: np.ndarray
    done: np.ndarray
    infos: list[dict[str, Any]]


def _steps(agent: "ReplayAgent", recording: Recording, index: int, seen: VecEnv) -> list[_Step]:
    """Read an episode, and check all of it as steps of an environment are checked."""
    episode, where = recording[index], recording.name_of(index)
    transpose = unwrap_vec_wrapper(seen, VecTransposeImage)
    observed, last = episode.observations, episode.steps - 1
    steps = []
    try:
        if transpose is not None:
            observed = transpose.transpose_observations(observed)
        rewards = np.asarray(episode.rewards, np.float32)
        actions = np.asarray(agent.policy.action_codec.from_env(np.asarray(episode.actions)))
        obs = _at(observed, 0)
        agent._check_observations(obs, [])
        for i in range(episode.steps):
            where = f"{recording.name_of(index)}, step {i}"
            after, reward, done = _at(observed, i + 1), rewards[i : i + 1], np.array([i == last])
            info: dict[str, Any] = {"TimeLimit.truncated": not episode.terminated}
            if i == last:
                info["terminal_observation"] = _first(after)
            agent._check_step(after, reward, done, [info])
            steps.append(_Step(obs, after, actions[i : i + 1], reward, done, [info]))
            obs = after
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return steps


def _store(steps: list[_Step], buffer: SequenceReplayBuffer) -> None:
    """Add an episode to a replay."""
    buffer.start_new_episodes()
    for step in steps:
        buffer.add(*step)
    buffer.start_new_episodes()


def _at(observed: Any, step: int) -> Any:
    """Return the observation of a step as a VecEnv of one environment does."""
    if isinstance(observed, dict):
        return {key: part[step : step + 1] for key, part in observed.items()}
    return observed[step : step + 1]


def _first(obs: Any) -> Any:
    return {key: part[0] for key, part in obs.items()} if isinstance(obs, dict) else obs[0]
