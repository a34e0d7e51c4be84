"""The upper bound of planning: the simulator of the DeepMind Control Suite in place of a model."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium.wrappers import RepeatAction
from torch import Tensor

#: Steps of the suite for each action in the six tasks of PlaNet (the paper's fifth version).
PLANET_ACTION_REPEAT = {
    "ball_in_cup-catch": 4,
    "cartpole-swingup": 8,
    "cheetah-run": 4,
    "finger-spin": 2,
    "reacher-easy": 4,
    "walker-walk": 2,
}


class States(NamedTuple):
    """
    What a reward of the suite depends on: states after its steps, along any leading axes.

    :param qpos: positions of the joints in m or rad, (..., nq)
    :param qvel: their velocities in m/s or rad/s, (..., nv)
    :param ctrl: control signals of the step, (..., nu)
    :param sensordata: sensors of positions and velocities in these states, (..., nsensordata).
        Those of forces and accelerations belong to MuJoCo's next step
    """

    qpos: np.ndarray
    qvel: np.ndarray
    ctrl: np.ndarray
    sensordata: np.ndarray


class Simulation(NamedTuple):
    """
    What J sequences of H actions lead to.

    :param rewards: sum over the repeats of each action, NaN in sequences that blew up, (J, H)
    :param states: MuJoCo's full physics state after each action, (J, H, S)
    """

    rewards: np.ndarray
    states: np.ndarray


class TrueSimulator:
    """
    Rate action sequences by the task's true reward (PlaNet, table 1, "CEM + true simulator").

    Sequences begin at the state that the environment is in and leave it as it is. The model is the
    environment's own, because some tasks change theirs at every reset: reacher moves its target.
    The time limit is not simulated: near the end of an episode, plans go beyond it.

    Example:
        >>> import torch
        >>> from dreamzoo.envs import make_dmc
        >>> from dreamzoo.planning import TrueSimulator
        >>> env = make_dmc("cartpole", "balance", seed=0)
        >>> returns = TrueSimulator(env)(torch.zeros(1, 2, 5, 1))  # the same 5 actions twice
        >>> returns.shape, bool(returns[0, 0] == returns[0, 1])
        (torch.Size([1, 2]), True)

    :param env: what :func:`dreamzoo.envs.make_dmc` returns. Its action repeat counts, and wrappers
        around it that change actions, if they take them in batches
    :param threads: simulations that run at the same time
    :raises ValueError: for another environment, or a task whose reward is not known here
    """

    def __init__(self, env: gym.Env, threads: int = 1) -> None:
        suite_env: Any = getattr(env, "unwrapped", None)
        spec = getattr(suite_env, "spec", None)
        if spec is None or spec.namespace != "dm_control":
            raise ValueError(
                f"TrueSimulator needs an environment made by dreamzoo.envs.make_dmc, not {env}."
            )
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}.")
        # Not at the top of the file: whoever plans in a learned model may do without them.
        import mujoco.rollout

        from dreamzoo.planning.dmc_rewards import REWARDS

        if spec.name not in REWARDS:
            raise ValueError(
                f"No reward for many states at once is known for {spec.name}, only for "
                f"{', '.join(REWARDS)}. Add one to dreamzoo.planning.dmc_rewards."
            )
        wrappers = list(_wrappers(env))
        repeats = (wrapper.num_repeats for wrapper in wrappers if isinstance(wrapper, RepeatAction))
        self.action_repeat = math.prod(repeats)
        #: Calls of MuJoCo's ``mj_step`` so far, over all sequences.
        self.mj_steps = 0
        self._action_wrappers = [w for w in wrappers if isinstance(w, gym.ActionWrapper)]
        assert env.action_space.shape is not None
        (self._action_dim,) = env.action_space.shape
        self._physics = suite_env.physics
        self._substeps = round(suite_env.control_timestep() / self._physics.timestep())
        self._reward = REWARDS[spec.name]
        model = self._physics.model.ptr
        self._state_type = mujoco.mjtState.mjSTATE_FULLPHYSICS
        self._state_size = mujoco.mj_stateSize(model, self._state_type)
        self._get_state = mujoco.mj_getState
        self._workspaces = [mujoco.MjData(model) for _ in range(threads)]
        # A pool of none runs on the calling thread.
        self._pool = mujoco.rollout.Rollout(nthread=threads if threads > 1 else 0)
        self._states = np.empty((0, 0, self._state_size))
        self._sensordata = np.empty((0, 0, model.nsensordata))

    def __call__(self, actions: Tensor) -> Tensor:
        """
        Rate action sequences.

        :param actions: as the environment takes them, (1, J, H, A)
        :return: sum of the true rewards of each sequence, NaN where it blew up, (1, J)
        :raises ValueError: for actions of another shape
        """
        if actions.ndim != 4 or actions.shape[::3] != (1, self._action_dim):
            raise ValueError(
                f"Expected actions of shape (1, J, H, {self._action_dim}) for one "
                f"environment, got {tuple(actions.shape)}."
            )
        rewards = self.simulate(actions[0].cpu().numpy()).rewards
        return th.from_numpy(rewards.sum(axis=1)).to(actions)[None]

    def simulate(self, actions: np.ndarray) -> Simulation:
        """
        Follow action sequences step by step.

        :param actions: as the environment takes them, (J, H, A)
        :return: rewards and states. The states are overwritten by the next call
        """
        model = self._physics.model.ptr
        for wrapper in self._action_wrappers:
            actions = wrapper.action(actions)
        n_sequences, horizon, _ = actions.shape
        action_steps = self.action_repeat * self._substeps
        # MuJoCo reads its sensors before it steps, the suite's tasks after: those of the last
        # state are read by one step more.
        repeats = [action_steps] * (horizon - 1) + [action_steps + 1]
        ctrl = np.repeat(actions, repeats, axis=1)  # (J, H * action_steps + 1, A)
        states, sensordata = self._roll_out(ctrl)
        ends = np.s_[:, self._substeps - 1 : -1 : self._substeps]  # of the suite's steps
        sections = np.cumsum([1, model.nq, model.nv])
        time, qpos, qvel, _ = np.split(states[ends], sections, axis=2)
        sensordata = sensordata[:, self._substeps :: self._substeps]
        rewards = self._reward(model, States(qpos, qvel, ctrl[ends], sensordata))
        rewards = rewards.reshape(n_sequences, horizon, self.action_repeat).sum(axis=2)
        # A rollout that blew up is not continued: its clock stands still.
        timestep = self._physics.timestep()
        end = self._physics.data.time + horizon * action_steps * timestep
        rewards[np.abs(time[:, -1, 0] - end) > timestep / 2] = np.nan
        return Simulation(rewards, states[:, action_steps - 1 : -1 : action_steps])

    def _roll_out(self, ctrl: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """
        Run the simulator from where the environment stands.

        :param ctrl: control signals of every step of MuJoCo, (J, T, nu)
        :return: states after every step and sensors before it, (J, T, S) and (J, T, nsensordata),
            in memory that the next call uses again
        """
        model, data = self._physics.model.ptr, self._physics.data.ptr
        start = np.empty(self._state_size)
        self._get_state(model, data, start, self._state_type)
        if self._states.shape[:2] != ctrl.shape[:2]:
            self._states = np.empty((*ctrl.shape[:2], self._state_size))
            self._sensordata = np.empty((*ctrl.shape[:2], model.nsensordata))
        self._pool.rollout(
            model,
            self._workspaces,
            start[None],
            ctrl,
            # The solver begins at its last solution, which decides the result's last bits.
            initial_warmstart=data.qacc_warmstart[None],
            state=self._states,
            sensordata=self._sensordata,
        )
        self.mj_steps += ctrl.shape[0] * ctrl.shape[1]
        return self._states, self._sensordata

    def close(self) -> None:
        """End the threads; the environment stays open."""
        self._pool.close()


def _wrappers(env: gym.Env) -> Iterator[gym.Wrapper]:
    """
    Go through the wrappers of an environment.

    :param env: wrapped environment
    :return: the wrappers, the outermost first
    """
    while isinstance(env, gym.Wrapper):
        yield env
        env = env.env
