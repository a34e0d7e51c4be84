"""Simulated action sequences are what the environment does with the same actions."""

from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
import torch as th
from gymnasium.wrappers import RescaleAction

from dreamzoo.envs import make_dmc
from dreamzoo.planning import CEM
from dreamzoo.planning.dmc_rewards import REWARDS
from dreamzoo.planning.true_simulator import PLANET_ACTION_REPEAT, TrueSimulator

# Joints that bring a task near its reward, by domain. Reacher's target is moved instead.
REWARDED_POSITIONS = {
    "ball_in_cup": {"ball_z": 0.35},
    "cartpole": {"hinge_1": 0.2},
    "walker": {"rootz": 0.05},
}
REWARDED_VELOCITIES = {
    "cheetah": {"rootx": 4.0},
    "finger": {"hinge": -40.0},
    "walker": {"rootx": 1.0},
}


def make(task: str, action_repeat: int | None = None, seed: int = 0) -> gym.Env:
    domain, _, name = task.partition("-")
    if action_repeat is None:
        action_repeat = PLANET_ACTION_REPEAT.get(task, 2)
    env = make_dmc(domain, name, action_repeat=action_repeat)
    env.reset(seed=seed)
    return env


def physics_of(env: gym.Env) -> Any:
    suite_env: Any = env.unwrapped
    return suite_env.physics


def state_of(env: gym.Env, kind: Any = mujoco.mjtState.mjSTATE_FULLPHYSICS) -> np.ndarray:
    model, data = physics_of(env).model.ptr, physics_of(env).data.ptr
    state = np.empty(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(model, data, state, kind)
    return state


def go_where_rewards_are(env: gym.Env, task: str) -> None:
    """Set the simulator to a state that is rewarded, or soon will be."""
    physics, domain = physics_of(env), task.partition("-")[0]
    with physics.reset_context():
        for joint, value in REWARDED_POSITIONS.get(domain, {}).items():
            physics.named.data.qpos[joint] = value
        for joint, value in REWARDED_VELOCITIES.get(domain, {}).items():
            physics.named.data.qvel[joint] = value
    if domain == "reacher":
        finger = physics.named.data.geom_xpos["finger", :2]
        physics.named.model.geom_pos["target", :2] = finger + np.array([0.01, 0.0])
        physics.forward()


def random_actions(env: gym.Env, *shape: int, seed: int = 0) -> np.ndarray:
    assert env.action_space.shape is not None
    size = (*shape, *env.action_space.shape)
    return np.random.default_rng(seed).uniform(-1, 1, size).astype(np.float32)


def assert_simulation_is_true(
    env: gym.Env, simulator: TrueSimulator, scale: float = 1.0, plans: int = 5
) -> np.ndarray:
    """
    Simulate plans from where the environment stands and play one, again and again.

    :param env: environment
    :param simulator: its simulator
    :param scale: largest action that the environment takes
    :param plans: how many plans to play
    :return: all rewards
    """
    rewards = []
    for played in range(plans):
        actions = scale * random_actions(env, plans, 4, seed=played)
        simulation = simulator.simulate(actions)
        for step, action in enumerate(actions[played]):
            rewards.append(env.step(action)[1])
            expected = simulation.rewards[played, step]
            assert rewards[-1] == pytest.approx(expected, abs=1e-12, rel=0)
            np.testing.assert_array_equal(state_of(env), simulation.states[played, step])
    return np.array(rewards)


@pytest.mark.parametrize("task", REWARDS)
def test_simulation_is_true(task: str) -> None:
    env = make(task)
    assert_simulation_is_true(env, TrueSimulator(env))


@pytest.mark.parametrize("task", REWARDS)
def test_simulation_is_true_where_rewards_are(task: str) -> None:
    env = make(task)
    go_where_rewards_are(env, task)
    rewards = assert_simulation_is_true(env, TrueSimulator(env))
    assert (rewards > 0).mean() > 0.1
    assert len(set(rewards)) > 1


@pytest.mark.parametrize("action_repeat", [1, 3])
@pytest.mark.parametrize("task", ["cartpole-swingup", "finger-spin", "walker-walk"])
def test_simulation_is_true_for_other_action_repeats(task: str, action_repeat: int) -> None:
    env = make(task, action_repeat)
    go_where_rewards_are(env, task)
    assert_simulation_is_true(env, TrueSimulator(env))


@pytest.mark.parametrize("horizon", [1, 2])
def test_short_plans_begin_as_long_ones(horizon: int) -> None:
    env = make("walker-walk")
    simulator = TrueSimulator(env)
    actions = random_actions(env, 3, 4)
    long = simulator.simulate(actions)
    states = long.states[:, :horizon].copy()
    short = simulator.simulate(actions[:, :horizon])
    np.testing.assert_array_equal(short.rewards, long.rewards[:, :horizon])
    np.testing.assert_array_equal(short.states, states)


def test_returns_are_the_sums_of_rewards() -> None:
    env = make("cheetah-run")
    simulator = TrueSimulator(env)
    actions = th.from_numpy(random_actions(env, 5, 4))
    returns = simulator(actions[None])
    assert returns.shape == (1, 5)
    assert returns.dtype == th.float32
    expected = simulator.simulate(actions.numpy()).rewards.sum(axis=1)
    np.testing.assert_allclose(returns[0], expected, rtol=1e-6)


@pytest.mark.parametrize("task", ["cartpole-swingup", "reacher-easy", "walker-walk"])
def test_environment_is_left_as_it_is(task: str) -> None:
    planned, plain = make(task), make(task)
    simulator = TrueSimulator(planned)
    everything = mujoco.mjtState.mjSTATE_INTEGRATION
    for action in random_actions(plain, 10):
        before = state_of(planned, everything)
        simulator.simulate(random_actions(planned, 20, 5, seed=1))
        np.testing.assert_array_equal(state_of(planned, everything), before)
        outcomes = [env.step(action) for env in (planned, plain)]
        assert outcomes[0][1] == outcomes[1][1]
        for key, value in outcomes[0][0].items():
            np.testing.assert_array_equal(value, outcomes[1][0][key])
        np.testing.assert_array_equal(state_of(planned, everything), state_of(plain, everything))


def test_target_of_the_episode_is_used() -> None:
    env = make("reacher-easy")
    simulator = TrueSimulator(env)
    actions = random_actions(env, 1, 1)
    distances, rewards = [], []
    for seed in range(1, 25):
        env.reset(seed=seed)
        rewards.append(simulator.simulate(actions).rewards[0, 0])
        assert env.step(actions[0, 0])[1] == rewards[-1]
        distances.append(physics_of(env).finger_to_target_dist())
    assert len(set(distances)) == 24
    assert 0 < np.count_nonzero(rewards) < 24


def test_friction_of_the_episode_is_used() -> None:
    """Finger changes its model when it is first reset, here after the simulator is made."""
    env = make_dmc("finger", "spin")
    simulator = TrueSimulator(env)
    damping = physics_of(env).named.model.dof_damping
    before = damping["hinge"].copy()
    env.reset(seed=0)
    assert damping["hinge"] != before
    go_where_rewards_are(env, "finger-spin")
    assert_simulation_is_true(env, simulator)


def test_threads_change_nothing() -> None:
    env = make("ball_in_cup-catch")
    actions = random_actions(env, 50, 3)
    one, two = TrueSimulator(env), TrueSimulator(env, threads=2)
    first = one.simulate(actions)
    for _ in range(2):
        again = two.simulate(actions)
        np.testing.assert_array_equal(again.rewards, first.rewards)
        np.testing.assert_array_equal(again.states, first.states)
    two.close()
    env.step(actions[0, 0])


def test_actions_are_changed_as_by_wrappers() -> None:
    inner = make("walker-walk")
    env = RescaleAction(inner, np.float32(-4), np.float32(4))
    outer = TrueSimulator(env)
    actions = random_actions(env, 2, 3)
    np.testing.assert_array_equal(
        outer.simulate(4 * actions).rewards, TrueSimulator(inner).simulate(actions).rewards
    )
    assert_simulation_is_true(env, outer, scale=4)


def test_simulations_that_blow_up_are_nan() -> None:
    env = make("reacher-easy")
    physics_of(env).data.qvel[:] = 1e11
    actions = th.from_numpy(random_actions(env, 1, 4, 2))
    for threads in (1, 2):
        assert TrueSimulator(env, threads)(actions).isnan().all()


def test_steps_of_the_simulator_are_counted() -> None:
    env = make("ball_in_cup-catch", action_repeat=4)
    simulator = TrueSimulator(env)
    assert simulator.action_repeat == 4
    for calls in (1, 2):
        simulator.simulate(random_actions(env, 3, 2))
        # 10 steps of MuJoCo are one of the suite; one more reads the last sensors.
        assert simulator.mj_steps == calls * 3 * (2 * 4 * 10 + 1)


def test_planning_beats_chance() -> None:
    env = make("cheetah-run")
    simulator = TrueSimulator(env)
    cem = CEM(horizon=6, iterations=4, candidates=40, elites=4)
    plan = cem.plan(simulator, action_dim=6, generator=th.Generator().manual_seed(0))
    chance = simulator(th.from_numpy(random_actions(env, 1, 40, 6)))
    assert plan.returns[0] > 2 * chance.mean()
    promised = simulator(plan.mean[:, None])[0, 0]
    received = sum(float(env.step(action)[1]) for action in plan.mean[0].numpy())
    assert received == pytest.approx(promised.item(), rel=1e-6)


def test_tasks_of_the_paper_have_rewards() -> None:
    assert len(PLANET_ACTION_REPEAT) == 6
    assert PLANET_ACTION_REPEAT.keys() <= REWARDS.keys()


def test_other_environments_raise() -> None:
    suite_env: Any = make("reacher-easy").unwrapped
    for env in (gym.make("CartPole-v1"), suite_env._env, None):
        refuses(env)


def refuses(env: Any) -> None:
    with pytest.raises(ValueError, match=r"made by dreamzoo\.envs\.make_dmc, not"):
        TrueSimulator(env)


def test_tasks_without_a_reward_raise() -> None:
    with pytest.raises(ValueError, match=r"known for pendulum-swingup, only for ball_in_cup-catch"):
        TrueSimulator(make("pendulum-swingup"))


def test_no_threads_raise() -> None:
    with pytest.raises(ValueError, match="threads must be at least 1, not 0"):
        TrueSimulator(make("reacher-easy"), threads=0)


@pytest.mark.parametrize("shape", [(2, 3, 4, 2), (1, 3, 4, 1), (3, 4, 2)])
def test_actions_of_another_shape_raise(shape: tuple[int, ...]) -> None:
    simulator = TrueSimulator(make("reacher-easy"))
    with pytest.raises(ValueError, match=r"shape \(1, J, H, 2\) for one environment, got"):
        simulator(th.zeros(shape))
