"""Learning from what others have recorded, without an environment."""

import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.utils import check_for_correct_spaces, configure_logger
from stable_baselines3.common.vec_env import VecEnv, VecTransposeImage, unwrap_vec_wrapper

from dreamzoo.common.buffers import SequenceBatch, SequenceReplayBuffer, Windows
from dreamzoo.common.ranked import Ranked, on_all_ranks
from dreamzoo.common.recording import Episode, Recording
from dreamzoo.common.settings import Whole, read_settings
from dreamzoo.nn.fast import ranks
from dreamzoo.nn.process import restores_process

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
            all of it; nothing was stored then, but the episodes before a wrong one
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
        for episode in recording:
            _store(agent, episode, buffer, seen)
        return self

    def read_sequences(
        self, recording: Recording, length: int, rows: int, rng: np.random.Generator
    ) -> SequenceBatch:
        """
        Draw sequences from a recording, as the replay does from what is in it.

        What lies in no sequence is neither kept nor, of
        :class:`~dreamzoo.common.recording.StoredEpisodes`, read.

        :param recording: of an environment with the agent's spaces
        :param length: steps of a sequence, if the recording has as many
        :param rows: number of sequences B
        :param rng: source of randomness
        :raises ValueError: for other spaces, and for values outside of them, as :meth:`fit_replay`
        """
        agent = cast("ReplayAgent", self)
        seen = _as_seen_by(agent, recording)
        ends = np.cumsum(recording.lengths + 1)  # of episodes, in records of the whole
        length = min(length, int(ends[-1]))
        starts = rng.integers(ends[-1] - length + 1, size=rows)
        buffer = SequenceReplayBuffer(
            rows * (length + 2),  # see _store_window
            agent.observation_space,
            agent.action_space,
            agent.device,
            batch_length=length,
        )
        stored = np.zeros(rows, int)
        held: dict[int, Episode] = {}
        for row in np.argsort(starts):  # so that no episode is read twice, and few are held
            first, last = np.searchsorted(ends, starts[row] + np.array([0, length - 1]), "right")
            held = {i: held[i] if i in held else recording[i] for i in range(first, last + 1)}
            within = starts[row] - (ends[first] - held[first].steps - 1)
            stored[row] = _store_window(agent, list(held.values()), within, length, buffer, seen)
        return buffer.read(Windows(np.zeros(rows, int), stored), length)

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
            return ranks.every(callback.on_step())

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


def _store_window(
    agent: "ReplayAgent",
    episodes: Sequence[Episode],
    first: int,
    length: int,
    buffer: SequenceReplayBuffer,
    seen: VecEnv,
) -> int:
    """
    Add consecutive records to a replay, and with them at most one before and one behind.

    The one before says with which reward the first was reached; the one behind ends an episode.

    :param episodes: that they are of
    :param first: which record of the first episode is the first of them
    :param length: their number
    :return: where the first of them lies in the replay
    """
    before = min(first, 1)
    begin, left = first - before, length + before
    start = buffer.size() + before
    for episode in episodes:
        _store(agent, episode, buffer, seen, range(begin, min(begin + left, episode.steps)))
        left -= episode.steps + 1 - begin
        begin = 0
    return start


def _store(
    agent: "ReplayAgent",
    episode: Episode,
    buffer: SequenceReplayBuffer,
    seen: VecEnv,
    steps: range | None = None,
) -> None:
    """Add an episode, or some steps of it, to a replay, checked as those of an environment are."""
    steps = range(episode.steps) if steps is None else steps
    transpose = unwrap_vec_wrapper(seen, VecTransposeImage)
    observed, last = episode.observations, episode.steps - 1
    if transpose is not None:
        observed = transpose.transpose_observations(observed)
    actions = np.asarray(agent.policy.action_codec.from_env(np.asarray(episode.actions)))
    rewards = np.asarray(episode.rewards, np.float32)
    buffer.start_new_episodes()
    obs = _at(observed, steps.start)
    agent._check_observations(obs, [])
    for i in steps:
        after, reward, done = _at(observed, i + 1), rewards[i : i + 1], np.array([i == last])
        info: dict[str, Any] = {"TimeLimit.truncated": not episode.terminated}
        if i == last:
            info["terminal_observation"] = _first(after)
        agent._check_step(after, reward, done, [info])
        buffer.add(obs, after, actions[i : i + 1], reward, done, [info])
        obs = after
    buffer.start_new_episodes()


def _at(observed: Any, step: int) -> Any:
    """Return the observation of a step as a VecEnv of one environment does."""
    if isinstance(observed, dict):
        return {key: part[step : step + 1] for key, part in observed.items()}
    return observed[step : step + 1]


def _first(obs: Any) -> Any:
    return {key: part[0] for key, part in obs.items()} if isinstance(obs, dict) else obs[0]
