"""Callbacks that evaluate and save a run so that it can be resumed, and that show a model."""

import os
import pathlib
import warnings
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.logger import (
    CSVOutputFormat,
    Figure,
    HumanOutputFormat,
    JSONOutputFormat,
    Video,
)
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from dreamzoo.analysis.evaluation import tell_rewards
from dreamzoo.analysis.figures import image_frames, image_keys, vector_figure
from dreamzoo.analysis.open_loop import OpenLoop, open_loop
from dreamzoo.common.buffers import SequenceBatch
from dreamzoo.common.environments.normalizer import NORMALIZER, as_learned, save_normalizer
from dreamzoo.common.exact_resume import ExactResume
from dreamzoo.common.has_world_model import HasWorldModel
from dreamzoo.common.last_good import refuse_destroyed
from dreamzoo.common.replay_files import ReplayFiles
from dreamzoo.common.rollout_agent import RolloutAgent
from dreamzoo.common.rollout_window import Sequences
from dreamzoo.common.saved_algorithm import SavedAlgorithm
from dreamzoo.common.storage.files import check_folder, explained
from dreamzoo.common.storage.saves import (
    MODEL,
    REPLAY,
    REPLAY_OF_SB3,
    TRAINING,
    own_part,
    save_jointly,
    save_name,
)
from dreamzoo.common.storage.transitions_file import is_plain
from dreamzoo.envs.rendering import draw_in_memory
from dreamzoo.nn.fast import ranks
from dreamzoo.nn.settings import Whole, read_settings

#: Formats of SB3's logger that cannot show videos or figures.
_TEXT_FORMATS = ("stdout", "log", "json", "csv")


class SaveCallback(BaseCallback):
    """
    Keep all that a run is continued from, on the way and at the end.

    SB3's ``CheckpointCallback`` saves inside a step, between the environment's answer and its
    storage, and that step is lost on loading. This one waits until the step is stored and its
    updates are made: a run that is loaded from its files goes on as if it had not been cut off.
    SB3's own agents are saved, too; unless they are made resumable, see :class:`ExactResume`, they
    begin new episodes with new random numbers.

    Every save is a folder of its own, which is complete before ``saves.json`` names it: whatever
    cuts a save off, ``load(folder)`` and ``resume(folder)`` find the last complete one.

    Pass it in the list of callbacks itself: others do not tell it of more than steps.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.analysis.callbacks import SaveCallback
        >>> from dreamzoo.common.storage.saves import newest
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> model = model.learn(40, callback=SaveCallback("run", every=20))
        >>> sorted(path.name for path in newest("run").iterdir())
        ['model.zip', 'replay_buffer.environments.zip', 'replay_buffer.npz']
        >>> DreamerV3.load("run").num_timesteps
        40

    :param folder: of the saves. Each has ``model.zip``; of an agent with a replay
        ``replay_buffer.npz``, of other resumable ones ``training_state.zip``; copies of the
        environments, where there can be any, in ``....environments.zip``; and where there is a
        ``VecNormalize``, ``vecnormalize.zip``. Created if it does not exist
    :param every: steps of all environments together between two saves
    :param env_state: False leaves the environments' state out: a continued training begins new
        episodes
    :param keep: how many last saves stay
    """

    #: Every rank of an agent on several devices writes its own part of a save.
    on_all_ranks = True

    def __init__(
        self,
        folder: str | pathlib.Path,
        every: int,
        verbose: int = 0,
        env_state: bool = True,
        keep: int = 1,
    ) -> None:
        super().__init__(verbose)
        wanted = {"every": Whole(1), "keep": Whole(1)}
        read_settings("SaveCallback", wanted, {"every": every, "keep": keep})
        self.folder, self.every, self.env_state = pathlib.Path(folder), every, env_state
        self.keep = keep

    def _init_callback(self) -> None:
        if self.parent is not None:
            raise ValueError(
                f"SaveCallback inside {type(self.parent).__name__} would never save. Pass it to "
                "learn() in a list: callback=[..., SaveCallback(...)]."
            )

    def _on_training_start(self) -> None:
        check_folder(self.folder)
        self._saved_at = self.num_timesteps
        self._saved = False

    def _on_rollout_start(self) -> None:
        if self.num_timesteps // self.every > self._saved_at // self.every:
            try:
                self.save()
            except OSError as error:
                warnings.warn(
                    f"{error}. Training goes on; the next save is due {self.every} steps later.",
                    stacklevel=2,
                )
            self._saved_at = self.num_timesteps

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        # A callback that stops training does so inside a step: the last save is the better one.
        inside = not ranks.every(not getattr(self.model, "_in_step", False))
        if not (self._saved and inside):
            self.save()

    def save(self) -> None:
        """
        Save now. A save is complete before it takes the place of an older one.

        :raises OSError: names the file that could not be written; older ones are as they were
        :raises FloatingPointError: if the model is destroyed; the older one is kept
        """
        refuse_destroyed(self.model, f"the last save stays in {self.folder}")
        name = save_name(self.model.num_timesteps)
        if isinstance(self.model, SavedAlgorithm):
            self.model.share_moment()
        with explained(self.folder / MODEL):
            made = save_jointly(self.folder, name, self.keep, self._write)
        self._saved = True
        if isinstance(self.model, ExactResume):
            self.model.last_good_file = made / MODEL

    def _write(self, folder: pathlib.Path) -> None:
        """Write all files of a save; the model, which all ranks have, is the first one's."""
        model: Any = self.model
        if ranks.index() == 0:
            model.save(folder / MODEL)
        if isinstance(model, ReplayFiles):
            model.save_replay_buffer(folder / own_part(REPLAY), self.env_state)
        elif isinstance(model, OffPolicyAlgorithm):
            plain = isinstance(model, ExactResume) and is_plain(model.replay_buffer)
            model.save_replay_buffer(folder / (REPLAY if plain else REPLAY_OF_SB3))
        if isinstance(model, ExactResume) and not isinstance(model, ReplayFiles):
            model.save_training_state(folder / own_part(TRAINING), self.env_state)
        if (normalizer := model.get_vec_normalize_env()) is not None:
            moment = model._moment() if isinstance(model, SavedAlgorithm) else ""
            save_normalizer(normalizer, folder / NORMALIZER, moment)


class SeededEvalCallback(EvalCallback):
    """
    SB3's callback; which episodes it plays does not depend on whether the run was interrupted.

    Policies that listen are told what they earn, as in training. Each evaluation has episodes of
    its own, and those of another seed are others. The table is replaced as a whole: a process that
    ends meanwhile leaves the one before.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.analysis.callbacks import SeededEvalCallback
        >>> from stable_baselines3.common.env_util import make_vec_env
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> settings = dict(eval_freq=20, n_eval_episodes=2, log_path="logs", verbose=0)
        >>> callback = SeededEvalCallback(make_vec_env("CartPole-v1"), seed=1, **settings)
        >>> model = model.learn(40, callback=callback)
        >>> callback.evaluations_timesteps
        [20, 40]

    :param env: to evaluate in
    :param seed: of the episodes
    :param kwargs: of ``EvalCallback``
    """

    def __init__(self, env: VecEnv, seed: int, **kwargs: Any) -> None:
        super().__init__(env, **kwargs)
        self.seed = seed

    def _on_step(self) -> bool:
        if self.eval_freq <= 0 or self.n_calls % self.eval_freq != 0:
            return super()._on_step()
        # Single environments count on from it, and some take at most 32 bits.
        mixed = np.random.SeedSequence((self.seed, self.n_calls)).generate_state(1)
        self.eval_env.seed(int(mixed[0]) >> 1)
        if (table := self.log_path) is None:
            return super()._on_step()
        self.log_path = f"{table}.new"
        try:
            go_on = super()._on_step()
        finally:
            self.log_path = table
        os.replace(f"{table}.new.npz", f"{table}.npz")
        return go_on

    def _log_success_callback(self, locals_: dict[str, Any], globals_: dict[str, Any]) -> None:
        super()._log_success_callback(locals_, globals_)
        tell_rewards(locals_)

    def resume(self, num_timesteps: int, n_envs: int) -> None:
        """
        Continue the table of evaluations instead of beginning a new one.

        :param num_timesteps: of the agent that is trained further
        :param n_envs: environments of training
        """
        self.n_calls = num_timesteps // n_envs
        assert self.log_path is not None
        path = pathlib.Path(self.log_path + ".npz")
        if not path.exists():
            return
        with np.load(path) as table:
            kept = table["timesteps"] <= num_timesteps
            self.evaluations_timesteps = table["timesteps"][kept].tolist()
            self.evaluations_results = table["results"][kept].tolist()
            self.evaluations_length = table["ep_lengths"][kept].tolist()
            # Those that were resumed by an earlier version lack successes from before.
            if "successes" in table and len(table["successes"]) == len(kept):
                self.evaluations_successes = table["successes"][kept].tolist()


class DreamVideoCallback(BaseCallback):
    """
    Log open-loop predictions to TensorBoard: truth, model, error.

    The model sees the first ``context`` steps of recorded sequences and predicts the rest from
    the actions alone. They are of the replay, or of the window that an on-policy agent has just
    collected. Images become a video, everything else a figure of lines. Under ``dream/`` the error
    of the predicted part is logged as a number.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.analysis.callbacks import DreamVideoCallback
        >>> model = DreamerV3(
        ...     "MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"), tensorboard_log="logs"
        ... )
        >>> callback = DreamVideoCallback(every=40, n_sequences=2, length=10, context=3)
        >>> model = model.learn(40, callback=callback)
        >>> callback.look().prediction.shape  # the same without a logger
        torch.Size([2, 10, 4])

    :param every: steps of the VecEnv between two looks
    :param n_sequences: sequences side by side
    :param length: steps of a sequence; of an on-policy agent at most its ``n_steps``
    :param context: steps that the model sees
    :param fps: frames of the video in a second
    :param seed: of the choice of sequences and of the dream; training is not disturbed
    """

    model: HasWorldModel

    def __init__(
        self,
        every: int = 1_000,
        n_sequences: int = 4,
        length: int = 50,
        context: int = 5,
        fps: int = 15,
        seed: int = 0,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        given = {"every": every, "length": length, "context": context}
        read_settings("DreamVideoCallback", {"every": Whole(1), "length": Whole(2)}, given)
        read_settings("DreamVideoCallback", {"context": Whole(1, length - 1)}, given)
        self.every, self.fps = every, fps
        self.n_sequences, self.length, self.context = n_sequences, length, context
        self.seed = seed
        self._looked_at = 0  # call of the last look at a window

    def _on_training_start(self) -> None:
        if isinstance(self.model, RolloutAgent) and self.model.n_steps < self.length:
            raise ValueError(
                f"DreamVideoCallback: length={self.length}, but {type(self.model).__name__} keeps "
                f"no more than its last {self.model.n_steps} steps (n_steps). Pass a smaller "
                "length, or a larger n_steps to the agent."
            )
        draw_in_memory()  # of TensorBoard's videos
        texts = HumanOutputFormat | JSONOutputFormat | CSVOutputFormat
        if all(isinstance(log, texts) for log in self.logger.output_formats):
            warnings.warn(
                "DreamVideoCallback: no log of this agent can show videos. Pass "
                "tensorboard_log=<folder> to the agent.",
                stacklevel=2,
            )

    def _on_step(self) -> bool:
        if self.n_calls % self.every == 0 and self._replayed() >= self.n_sequences:
            self._log(self.look())
        return True

    def _replayed(self) -> int:
        """Count the sequences of a replay, with the record whose action leads to their first."""
        buffer = getattr(self.model, "replay_buffer", None)
        return 0 if buffer is None else buffer.n_windows(self.length + 1)

    def _on_rollout_end(self) -> None:
        on_policy = isinstance(self.model, RolloutAgent)
        if on_policy and self.n_calls // self.every > self._looked_at // self.every:
            self._looked_at = self.n_calls
            self._log(self.look())

    def look(self, normalizer: VecNormalize | None = None) -> OpenLoop:
        """
        Make predictions for recorded sequences; needs no logger.

        :param normalizer: of the raw observations and rewards in a replay; default: the agent's
        :raises ValueError: if too little is recorded
        """
        model: Any = self.model
        given = {} if normalizer is None else {"normalizer": as_learned(normalizer)}
        generator = th.Generator(device=model.device).manual_seed(self.seed)
        batch: SequenceBatch | Sequences = model.recorded_sequences(
            np.random.default_rng(self.seed), 4 * self.n_sequences, self.length, **given
        )
        # A dream does not reset: where an episode ends, nothing is left to compare.
        resets = batch.is_first[:, 1:].sum(1)
        whole = batch.rows(resets.argsort(stable=True)[: self.n_sequences])
        # The states that learning begins in; a window of an on-policy agent begins anew.
        begin = model.start_latent(whole) if isinstance(whole, SequenceBatch) else None
        return open_loop(model.policy, whole, self.context, generator, begin)

    def _log(self, shown: OpenLoop) -> None:
        codec = self.model.policy.observation_codec
        for key in image_keys(codec):
            frames = image_frames(shown, key)
            video = th.as_tensor(frames[None])  # (1, T, C, H, W)
            self.logger.record(f"dream/{key.name}", Video(video, self.fps), exclude=_TEXT_FORMATS)
        figure = vector_figure(shown, codec)
        self.logger.record("dream/open_loop", Figure(figure, close=True), exclude=_TEXT_FORMATS)
        reward = shown.reward[:, :, shown.context :]
        self.logger.record("dream/reward_error", (reward[0] - reward[1]).abs().mean().item())
