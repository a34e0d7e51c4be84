"""SB3's VecEnv whose environments run in worker processes of this machine or of a cluster."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import (
    VecEnvIndices,
    VecEnvObs,
    VecEnvStepReturn,
)

from dreamzoo.envs.remote.cluster import connect
from dreamzoo.envs.remote.fleet import Fleet, Options, RemoteError
from dreamzoo.envs.remote.pipeline import Actor, Pipeline
from dreamzoo.envs.remote.worker import own

#: Key of an info that says why an episode was cut off by the loss of its worker.
LOST = "worker_lost"


class RemoteVecEnv(VecEnv):
    """
    Environments in Ray's workers, on the cores of this machine or on those of a cluster.

    It behaves as SB3's ``SubprocVecEnv`` does. Each worker steps some environments, one after the
    other, and sends all their numbers in one message. Workers import what ``make_env`` needs and
    nothing else; on other machines that must be installed.

    A worker that dies, or whose machine does, is started again, and a warning names it. The step
    that finds it missing ends its episodes: ``done`` with the last observations that came from it
    as ``terminal_observation``, a reward of 0, ``TimeLimit.truncated`` and the reason under
    ``worker_lost`` in the infos; the observations returned are the first ones of new episodes. What
    ``set_attr`` has set is set again; what ``env_method`` has done is lost.

    With ``acting="worker"`` environments do not wait for the learner: workers hold copies of the
    agent, act, and are ``ahead`` steps ahead. DreamerV1 to DreamerV3 and PlaNet then update while
    the environments step, and nothing else changes for them. An action was chosen with weights of
    at most ``ahead`` steps and ``sync_every`` updates before. All is done in one order, whatever
    takes how long: the same seeds give the same training.

    Example:
        >>> import gymnasium as gym
        >>> from dreamzoo.envs import RemoteVecEnv
        >>> env = RemoteVecEnv(lambda: gym.make("CartPole-v1"), n=4, envs_per_worker=2)
        >>> env.reset().shape
        (4, 4)
        >>> env.close()

    :param make_env: makes one environment; or one such function for each
    :param n: number of environments; None: as many as there are functions
    :param address: of the cluster, see :func:`dreamzoo.envs.remote.cluster.connect`
    :param envs_per_worker: environments of a worker; None: as few as the cluster's CPUs allow
    :param acting: ``"learner"``: actions come from ``step``; ``"worker"``: see above
    :param ahead: steps, with ``acting="worker"``
    :param sync_every: updates between two copies of the weights, with ``acting="worker"``
    :param start_timeout: seconds until all workers must have made their environments
    :param timeout: seconds after which a worker that does not answer counts as lost, for each thing
        that it is asked for; None: never
    :param max_restarts: how often in a row, within 100 steps each, a worker is started again
    :param restart_on_error: also start workers again whose environments raise; else that is raised
    :param worker_options: what Ray shall reserve for a worker, such as ``dict(num_cpus=2)``; by
        default a CPU each, if that many are free when workers are started, else none
    :raises ImportError: names the extra, where there is no Ray
    :raises ConnectionError: if there is no cluster at the address
    :raises ValueError: if numbers make no sense, ``make_env`` cannot be sent, or spaces differ
    :raises RuntimeError: if a worker cannot be started
    """

    def __init__(
        self,
        make_env: Callable[[], gym.Env] | Sequence[Callable[[], gym.Env]],
        n: int | None = None,
        address: str | None = None,
        envs_per_worker: int | None = None,
        acting: Literal["learner", "worker"] = "learner",
        ahead: int = 4,
        sync_every: int = 10,
        start_timeout: float = 300.0,
        timeout: float | None = None,
        max_restarts: int = 3,
        restart_on_error: bool = False,
        worker_options: Mapping[str, Any] | None = None,
    ) -> None:
        makers = _makers(make_env, n)
        if acting not in ("learner", "worker"):
            raise ValueError(f"{acting=}: expected 'learner' or 'worker'")
        _refuse_no_counts(envs_per_worker=envs_per_worker, ahead=ahead, sync_every=sync_every)
        if timeout is not None and timeout <= 0:
            raise ValueError(f"{timeout=}: expected seconds above 0, or None: any time")
        self.acting, self.ahead, self.sync_every = acting, ahead, sync_every
        ray = connect(address)
        # All that there are: which of them are free depends on what has just ended.
        sizes = _sizes(len(makers), envs_per_worker, int(ray.cluster_resources().get("CPU", 0)))
        resources = dict(worker_options or {})
        options = Options(start_timeout, timeout, max_restarts, restart_on_error, resources)
        self._closed = False
        self._fleet = Fleet(makers, sizes, address, options)
        #: Where a row lies: worker, and place in it.
        self._places = [
            (member.index, place)
            for member in self._fleet.members
            for place in range(len(member.rows))
        ]
        self._asked: dict[int, Any] = {}
        #: First observations of workers that were started again, and why, until a step tells.
        self._renewed: dict[int, tuple[str, Any]] = {}
        self._obs: dict[int, Any] = {}
        self._pipeline: Pipeline | None = None
        #: Steps that workers have made by themselves, and the learner has not yet taken.
        self._made: dict[int, Any] | None = None
        self._attributes: dict[tuple[int, str], Any] = {}
        self._first_seeds: list[int | None] = [None] * len(makers)
        self._lives = [0] * len(sizes)
        assert self._fleet.spaces is not None
        super().__init__(len(makers), *self._fleet.spaces)

    # ------------------------------------------------------------------ stepping

    def reset(self) -> VecEnvObs:
        self._asked, self._renewed, self._made = {}, {}, None
        if any(seed is not None for seed in self._seeds):
            self._first_seeds = list(self._seeds)
        given = {
            m.index: (
                [self._seeds[row] for row in m.rows],
                [self._options[row] for row in m.rows],
            )
            for m in self._fleet.members
        }
        self._reset_seeds()
        self._reset_options()
        answers, lost = self._fleet.ask("reset", given)
        answers |= self._renew(lost)
        for index, (obs, infos) in answers.items():
            self._take_reset(index, obs, infos)
        if self._pipeline is not None:
            self._pipeline.fill(given)
        return self._joined_obs()

    def step_async(self, actions: np.ndarray) -> None:
        if self.acting == "worker":
            if self._made is None:
                raise RuntimeError(
                    "The workers of this RemoteVecEnv act by themselves (acting='worker'), with "
                    "copies of an agent that its learn() hands over: DreamerV1, DreamerV2, "
                    "DreamerV3 or PlaNet. For other algorithms, and to step it by hand, make it "
                    "with acting='learner'."
                )
            return
        self._asked = {
            m.index: self._fleet.send(m.index, "step", [actions[row] for row in m.rows])
            for m in self._fleet.members
            if m.index not in self._renewed
        }

    def step_wait(self) -> VecEnvStepReturn:
        if self._made is not None:
            assert self._pipeline is not None
            made, self._made = self._made, None
            for index in made.keys() - self._renewed.keys():  # of those all steps ahead are asked
                self._pipeline.ask(index)
            return self._join_steps(made)
        answers, lost = self._fleet.receive(self._asked)
        self._asked = {}
        self._note_renewed(lost, self._renew(lost))
        return self._join_steps(answers)

    def _join_steps(self, answers: Mapping[int, Any]) -> VecEnvStepReturn:
        """
        Join what workers say of a step, and what is known of those that cannot say anything.

        :param answers: of :meth:`Worker.step`, by worker
        """
        rewards, dones = np.zeros(self.num_envs, np.float32), np.zeros(self.num_envs, bool)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for member in self._fleet.members:
            index, rows = member.index, slice(member.rows.start, member.rows.stop)
            if index in self._renewed:
                reason, (obs, reset_infos) = self._renewed.pop(index)
                dones[rows] = True
                infos[rows] = _cut_off(self._obs[index], len(member.rows), reason)
                self._take_reset(index, obs, reset_infos)
                continue
            self._obs[index], rewards[rows], dones[rows], infos[rows], resets = answers[index]
            member.steps += 1
            for place, info in resets.items():
                self.reset_infos[member.rows[place]] = own(info)
        return self._joined_obs(), rewards, dones, own(infos)

    def _take_reset(self, index: int, obs: Any, infos: list[dict[str, Any]]) -> None:
        rows = self._fleet.members[index].rows
        self._obs[index] = obs
        self.reset_infos[rows.start : rows.stop] = own(infos)

    def _joined_obs(self) -> Any:
        return _join([self._obs[member.index] for member in self._fleet.members])

    # ------------------------------------------------------------------ acting in workers

    def hand_over(self, make_actor: Callable[[], Actor], make_seed: Callable[[], int]) -> None:
        """
        Let workers act by themselves from the next reset on.

        :param make_actor: makes a copy of an agent as it is
        :param make_seed: draws a seed for the copy of one worker
        """
        self._pipeline = Pipeline(self._fleet, make_actor, make_seed, self.ahead)

    def acted(self) -> list[tuple[range, list[np.ndarray] | None]]:
        """
        Wait for the next step of all workers, which the next ``step`` returns.

        :return: rows of each worker and what its actor said of its actions; None: it was lost, and
            what is returned for its rows depends on no action
        """
        assert self._pipeline is not None
        going = [m.index for m in self._fleet.members if m.index not in self._renewed]
        answers, lost = self._pipeline.next(going)
        self._note_renewed(lost, self._renew(lost))
        self._pipeline.fill(lost)
        self._made = {index: step for index, (_, step) in answers.items()}
        return [
            (m.rows, answers[m.index][0] if m.index in answers else None)
            for m in self._fleet.members
        ]

    def tell(self, news: Any) -> None:
        """
        Send news to the actors of all workers.

        :param news: for :meth:`dreamzoo.envs.remote.pipeline.Actor.load`
        """
        assert self._pipeline is not None
        self._pipeline.tell(news)

    # ------------------------------------------------------------------ lost workers

    def _renew(self, lost: Mapping[int, str]) -> dict[int, Any]:
        """
        Start workers again, and begin new episodes in them; they take no steps ahead yet.

        :param lost: why, by worker
        :return: first observations and infos, by worker
        """
        first: dict[int, Any] = {}
        while lost:
            self._fleet.replace(lost)
            self._set_again(lost)
            if self._pipeline is not None:
                self._pipeline.equip(lost)
            given = {index: self._new_life(index) for index in lost}
            answers, lost = self._fleet.ask("reset", given)
            first |= answers
        return first

    def _new_life(self, index: int) -> tuple[list[int | None], list[dict[str, Any]]]:
        """Return seeds, others than those before if there were any, and options of a reset."""
        self._lives[index] += 1
        rows = self._fleet.members[index].rows
        seeds = [
            None if (seed := self._first_seeds[row]) is None else _another(seed, self._lives[index])
            for row in rows
        ]
        return seeds, [{} for _ in rows]

    def _set_again(self, workers: Mapping[int, str]) -> None:
        for (row, name), value in self._attributes.items():
            index, place = self._places[row]
            if index in workers:
                self._fleet.tell(index, "set_attr", name, value, [place])

    def _note_renewed(self, lost: Mapping[int, str], first: Mapping[int, Any]) -> None:
        for index, reason in lost.items():
            # A second loss before a step has told of the first is one loss.
            reason = self._renewed[index][0] if index in self._renewed else reason
            self._renewed[index] = reason, first[index]

    # ------------------------------------------------------------------ everything else

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._fleet.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        return self.env_method("render")

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return self._of_rows("get_attr", indices, attr_name)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        rows = [*self._get_indices(indices)]
        self._of_rows("set_attr", rows, attr_name, value)
        self._attributes |= {(row % self.num_envs, attr_name): value for row in rows}

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        return self._of_rows("env_method", indices, method_name, args, kwargs)

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        return self._of_rows("is_wrapped", indices, wrapper_class)

    def _of_rows(self, method: str, indices: VecEnvIndices, *args: Any) -> list[Any]:
        """
        Ask the workers that have some rows.

        :param method: of :class:`Worker`, whose last argument are places in it
        :param indices: of rows; None: all
        :param args: its other arguments
        :return: one answer for each row; nothing of a method that returns nothing
        """
        rows = [*self._get_indices(indices)]
        places: dict[int, list[int]] = {}
        for row in rows:
            index, place = self._places[row]
            places.setdefault(index, []).append(place)
        todo = {index: (*args, found) for index, found in places.items()}
        answers: dict[int, Any] = {}
        renewed = set[int]()
        try:
            while todo:
                try:
                    found, lost = self._fleet.ask(method, todo)
                except RemoteError as error:
                    raise error.cause from error
                answers |= found
                self._note_renewed(lost, self._renew(lost))
                renewed |= lost.keys()
                todo = {index: todo[index] for index in lost}
        finally:
            if self._pipeline is not None:  # only now, so that nothing waits for these steps
                self._pipeline.fill(renewed)
        parts = {index: iter(own(answer) or ()) for index, answer in answers.items()}
        return [next(parts[self._places[row][0]], None) for row in rows]


def _refuse_no_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and (count < 1 or count % 1):
            raise ValueError(f"{name}={count!r}: expected a whole number from 1")


def _makers(make_env: Any, n: int | None) -> list[Callable[[], gym.Env]]:
    """Return one function for every environment."""
    if callable(make_env):
        makers = [make_env] * (1 if n is None else n)
    else:
        makers = list(make_env)
        if n not in (None, len(makers)):
            raise ValueError(f"{n=}, and make_env has {len(makers)} functions: leave n out")
    if not makers:
        raise ValueError(f"{n=}: at least one environment is needed")
    for maker in makers:
        if not callable(maker):
            raise ValueError(
                f"make_env={maker!r} is no function that makes an environment. A VecEnv of "
                "workers makes them there: lambda: gym.make('CartPole-v1')."
            )
    return makers


def _sizes(n: int, envs_per_worker: int | None, cpus: int) -> list[int]:
    """Spread environments evenly over workers."""
    workers = max(1, min(n, cpus)) if envs_per_worker is None else -(-n // envs_per_worker)
    return [n // workers + (i < n % workers) for i in range(workers)]


def _join(parts: Sequence[Any]) -> Any:
    """Join the observations of workers, (n, ...) each part of them."""
    first = parts[0]
    if isinstance(first, dict):
        return {name: _join([part[name] for part in parts]) for name in first}
    if isinstance(first, tuple):
        return tuple(_join([part[i] for part in parts]) for i in range(len(first)))
    return np.concatenate(parts)


def _row(obs: Any, place: int) -> Any:
    if isinstance(obs, dict):
        return {name: _row(part, place) for name, part in obs.items()}
    if isinstance(obs, tuple):
        return tuple(_row(part, place) for part in obs)
    return obs[place].copy()


def _cut_off(obs: Any, n: int, reason: str) -> list[dict[str, Any]]:
    """Return infos of episodes that nothing more is known of than these observations."""
    return [
        {"terminal_observation": _row(obs, i), "TimeLimit.truncated": True, LOST: reason}
        for i in range(n)
    ]


def _another(seed: int, life: int) -> int:
    """Return the seed of a new life of an environment that once had another."""
    return int(np.random.SeedSequence([seed, life]).generate_state(1)[0])
