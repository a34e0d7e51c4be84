"""Real sequences from an environment, for agents that keep none."""

from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo.analysis.evaluation import check_spaces, seed_episodes, tell
from dreamzoo.analysis.horizon_errors import HorizonError, horizon_errors
from dreamzoo.analysis.open_loop import OpenLoop, open_loop, state_after
from dreamzoo.common.environments.normalizer import RewardUnit, statistics_at_rest
from dreamzoo.common.has_world_model import HasWorldModel
from dreamzoo.common.rollout_window import Sequences, WindowRecorder
from dreamzoo.nn.checks import to_flags


def play_sequences(model: HasWorldModel, env: VecEnv, length: int, *, seed: int = 0) -> Sequences:
    """
    Let an agent act, and record what happens: one sequence for every environment.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.analysis.open_loop import open_loop
        >>> from dreamzoo.analysis.playing import play_sequences
        >>> from stable_baselines3.common.env_util import make_vec_env
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> sequences = play_sequences(model, make_vec_env("CartPole-v1", n_envs=2), length=10)
        >>> open_loop(model.policy, sequences, context=3).prediction.shape
        torch.Size([2, 10, 4])

    :param model: acts, with sampled actions
    :param env: wrapped as the model's own environment was; images may have their channels last.
        Statistics of a ``VecNormalize`` stay as they are
    :param length: steps T of a sequence
    :param seed: of the environment
    :return: (n_envs, T), with rewards as the model has learned them; where an episode ends, the
        next one follows
    :raises ValueError: for an environment with other spaces
    """
    check_spaces(model, env)
    env = model._wrap_env(env, verbose=0, monitor_wrapper=False)
    seed_episodes(env, seed)
    recorder, codec, unit = WindowRecorder(), model.policy.action_codec, RewardUnit.of(model, env)
    state, starts, unknown = None, np.ones(env.num_envs, bool), np.zeros(env.num_envs)
    with statistics_at_rest(env):
        obs: Any = env.reset()
        for _ in range(length):
            action, state = model.predict(obs, state, starts)
            after, earned, flags, _ = env.step(action)
            reward = unit.learned(earned)
            tell(model, state, reward)
            ends = to_flags(flags, env.num_envs, "dones")
            recorder.add(obs, np.asarray(codec.from_env(action)), reward, starts, ends, unknown)
            obs, starts = after, ends
    return recorder.window(model.device).sequences()


def predict_play(
    model: HasWorldModel,
    env: VecEnv,
    *,
    length: int = 45,
    context: int = 5,
    compared: int = 32,
    shown: int = 4,
    seed: int = 0,
) -> tuple[OpenLoop, list[HorizonError]]:
    """
    Let an agent act, and let its model predict what came of it.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.analysis.playing import predict_play
        >>> from stable_baselines3.common.env_util import make_vec_env
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> shown, errors = predict_play(model, make_vec_env("CartPole-v1"), length=10, compared=8)
        >>> shown.prediction.shape, errors[0].sequences <= 8
        (torch.Size([4, 10, 4]), True)

    :param model: acts, with sampled actions, and predicts
    :param env: wrapped as the model's own environment was
    :param length: steps T of a sequence
    :param context: steps that the model sees; it goes on with the actions alone
    :param compared: sequences whose errors count, at least
    :param shown: sequences that are returned, those with the fewest ends of episodes
    :param seed: of environment and model
    :return: predictions of some sequences (shown, T), and the errors of all by horizon
    """
    rounds = -(-compared // env.num_envs)
    played = play_sequences(model, env, rounds * length, seed=seed)
    generator = th.Generator(device=model.device).manual_seed(seed)
    envs = th.arange(env.num_envs, device=model.device)
    begin, parts, cut = model.world_model.initial(env.num_envs), [], []
    for start in range(0, rounds * length, length):
        sequences = played.part(envs, th.full_like(envs, start), length)
        parts.append(open_loop(model.policy, sequences, context, generator, begin))
        cut.append(sequences.is_first)
        # As when it acts, the model knows all that came before.
        begin = state_after(model.policy, sequences, begin, generator)
    predicted, is_first = OpenLoop.joined(parts), th.cat(cut)
    # A dream does not begin anew where an episode ends.
    whole = is_first[:, 1:].sum(1).argsort(stable=True)[:shown]
    return predicted.rows(whole), horizon_errors(predicted, is_first)
