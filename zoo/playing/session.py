"""A dream that someone steers, beside reality: no web, no clock, only steps and what is seen."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv

from dreamzoo.envs.dreams.vector_env import DreamVectorEnv
from dreamzoo.envs.vector_env_to_vec_env import to_host
from dreamzoo.nn.state import select
from dreamzoo.planning import CEM, CEMPlanner
from dreamzoo.playing.controls import Controls
from dreamzoo.playing.drawing import Drawer, Pictures, smaller, strip
from dreamzoo.playing.reality import Reality, first
from dreamzoo.playing.record import Event, Film, Script
from dreamzoo.playing.watcher import Watcher

#: Where dreams begin: in what is seen first in reality, before any observation, in the replay.
STARTS = ("real", "initial", "replay")
#: Who acts.
PILOTS = ("person", "agent", "planner", "random", "script")
#: Dreams side by side at most.
MOST_DREAMS = 8
#: A planner that answers while someone waits: a tenth of PlaNet's candidates and half its rounds.
QUICK = CEM(horizon=12, iterations=5, candidates=100, elites=10)


class Scene(NamedTuple):
    """
    One moment.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.playing import PlaySession
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> scene = PlaySession(model).reset()  # a dream alone
        >>> sorted(scene.dreamed), scene.reality
        (['continue', 'entropy', 'reward', 'value'], 'absent')

    :param step: actions since the start
    :param pictures: what is seen
    :param reward: that reality gave for the last action; None where it does not run
    :param dreamed: by name, what every dream says: ``reward``, ``continue``, ``entropy`` (nats)
        and, of an agent with a critic, ``value``, (N,) each; rewards and values in the units of
        ``reward``, of a dream alone in those that the agent has learned
    :param error: mean distance of the numbers of the real observation from the first dream's
    :param spread: standard deviation between the dreams' observations, over their numbers
    :param action: that has led here, in replay form; None at the start
    :param reality: ``runs``, ``ended``, ``absent`` (there is none, or the dream began elsewhere)
    """

    step: int
    pictures: Pictures
    reward: float | None
    dreamed: dict[str, list[float]]
    error: float | None
    spread: float | None
    action: list[float] | None
    reality: str


class PlaySession:
    """
    One person's play: reality and dreams under the same actions.

    Whoever acts sees reality while it runs, and the first dream where it does not. The dreams go on
    beyond the end that they expect, which ``continue`` shows. The same seed, start and actions give
    the same episode again, on a CPU bit for bit.

    Example:
        >>> from dreamzoo import DreamerV3
        >>> from dreamzoo.playing import PlaySession
        >>> model = DreamerV3("MlpPolicy", "CartPole-v1", policy_kwargs=dict(size="debug"))
        >>> session = PlaySession(model, model.get_env, dreams=2)
        >>> scene = session.reset(seed=0)
        >>> scene = session.step([1])  # to the right
        >>> scene.reality, scene.reward, len(scene.dreamed["reward"])
        ('runs', 1.0, 2)
        >>> session.pilot = "agent"
        >>> scene = session.step()
        >>> scene = session.go_on_from_here()  # dreams begin anew in what is real now
        >>> scene.step
        2

    :param model: an agent with a world model
    :param make_env: makes the real environment, see :func:`dreamzoo.playing.reality.maker`; None:
        the dream is alone
    :param dreams: how many begin in the same state
    :param seed: of the first episode
    :param cem: the planner
    :param has_replay: whether to offer dreams that begin in recorded moments
    """

    def __init__(
        self,
        model: Any,
        make_env: Callable[[], VecEnv] | None = None,
        *,
        dreams: int = 1,
        seed: int = 0,
        cem: CEM = QUICK,
        has_replay: bool = True,
    ) -> None:
        self.has_replay = has_replay
        self.model, self.policy = model, model.policy
        self.reality = None if make_env is None else Reality(model, make_env)
        names = None if self.reality is None else self.reality.action_names
        self.controls = Controls(model.action_space, names)
        self.drawer: Drawer | None = None
        self._watcher = Watcher(self.policy)
        self._planner = None
        if not self.controls.codec.is_discrete:
            self._planner = CEMPlanner(model, cem)
        self._first = (dreams, seed)
        self.film = Film()
        self._knows_reality = False
        self._n: int
        self._dreams: DreamVectorEnv
        #: Whether the real episode has ended.
        self.is_over: bool
        self.make_as_new()

    @property
    def starts(self) -> list[str]:
        """Where dreams may begin; whether anything is recorded shows when it is tried."""
        has = {"real": self.reality is not None, "initial": True, "replay": self.has_replay}
        return [start for start in STARTS if has[start]]

    @property
    def pilots(self) -> list[str]:
        """Who may act."""
        return [name for name in PILOTS if name != "planner" or self._planner is not None]

    @property
    def dreams(self) -> int:
        """How many there are."""
        return self._n

    @property
    def pilot(self) -> str:
        """Who acts: ``person``, ``agent``, ``planner``, ``random`` or ``script``."""
        return self._pilot

    @pilot.setter
    def pilot(self, name: str) -> None:
        if name not in self.pilots:
            raise ValueError(f"{name!r} cannot act here; expected one of {self.pilots}.")
        if name == "script" and self._plan is None:
            raise ValueError("There is no script to follow: play_script() begins one.")
        self._pilot = name

    @property
    def script(self) -> Script:
        """What the episode follows from, until now."""
        if self._begun is None:
            raise ValueError("No episode has begun: reset() begins one.")
        return Script(*self._begun, self._actions.copy(), self._events.copy())

    def make_as_new(self) -> None:
        """Be what was made at first, for whoever comes next; an episode has yet to begin."""
        dreams, self.seed = self._first
        self._plan: Script | None = None
        self.pilot = "person"
        self.film.clear()
        self._begun: tuple[str, int, int] | None = None
        self._actions: list[list[float]] = []
        self._events: list[Event] = []
        self._seen: Any = None
        self.is_over = False
        self._set_dreams(dreams)

    # ------------------------------------------------------------------ buttons

    def reset(self, start: str | None = None, seed: int | None = None) -> Scene:
        """
        Begin an episode.

        :param start: of :attr:`starts`; None: the first of them
        :param seed: of everything random; None: as before
        :raises ValueError: for another start, and if nothing is recorded to begin in
        """
        scene = self._begin(start, seed, self._n)
        self._plan = None
        if self.pilot == "script":
            self.pilot = "person"
        return scene

    def _begin(self, start: str | None, seed: int | None, n: int) -> Scene:
        start = self.starts[0] if start is None else start
        if start not in self.starts:
            raise ValueError(f"{start!r} is no start here; expected one of {self.starts}.")
        # First all that may fail: then the episode before goes on.
        dream = self._dream(1, "replay" if start == "replay" else "initial")
        seed = self.seed if seed is None else seed
        dream.reset(seed=seed)
        dreams = self._dreams if n == self._n else self._dream(n, "initial")
        seen: Any = None
        if self.reality is not None and start != "replay":
            seen = self.reality.reset(seed)
        self.seed, self._seen, self._n, self._dreams = seed, seen, n, dreams
        self._watcher.forget()
        self._random = np.random.default_rng(seed)
        if seen is not None:
            self._watcher.see(seen)
        if self.drawer is None or (seen is not None and not self._knows_reality):
            self._find_drawer()
        self.is_over = False
        self._begun = (start, seed, n)
        self._actions, self._events = [], []
        self._parted = self._followed = 0
        self.film.clear()
        self._go_on(self._watcher.state() if start == "real" else select(dream.latent, slice(1)))
        return self._scene(None)

    def go_on_from_here(self) -> Scene:
        """
        Let the dreams begin anew in what is real at this moment.

        :raises ValueError: where reality does not run
        """
        if self._reality_is() != "runs":
            raise ValueError("There is no real moment to go on from: reality does not run.")
        self._events.append(Event(len(self._actions), "here", self._n))
        self._go_on(self._watcher.state())
        return self._scene(None)

    def set_dreams(self, n: int) -> Scene:
        """
        Let n dreams go on from the moment in which the first one is.

        :param n: from 1 to :data:`MOST_DREAMS`
        :raises ValueError: for another number
        """
        state = select(self._dreams.latent, slice(1))
        self._set_dreams(n)
        self._events.append(Event(len(self._actions), "dreams", n))
        self._go_on(state)
        return self._scene(None)

    def play_script(self, text: str) -> Scene:
        """
        Begin an episode that repeats a saved one, or follows a list of actions.

        :param text: what :meth:`save_actions` has written, or a JSON list
        :raises ValueError: for anything else, and for an episode that cannot happen here
        """
        script = Script.from_json(text, self.controls)
        is_real = self.reality is not None and script.start != "replay"
        if not is_real and any(event.what == "here" for event in script.events):
            raise ValueError(
                "This episode goes on dreaming from what is real, and cannot happen without the "
                "real environment. Play it beside that."
            )
        for n in (script.dreams, *(e.dreams for e in script.events if e.what == "dreams")):
            _check_dreams(n)
        scene = self._begin(script.start, script.seed, script.dreams)
        self._plan, self.pilot = script, "script"
        return scene

    def save_actions(self, path: str | pathlib.Path) -> None:
        """Write the episode's actions and what else it follows from, as JSON."""
        pathlib.Path(path).write_text(self.script.to_json(self.controls))

    def save_video(self, path: str | pathlib.Path, fps: int = 15) -> None:
        """
        Write the episode's pictures side by side as mp4: reality, dreams, difference.

        :param path: of the file
        :param fps: frames a second
        """
        self.film.save(path, fps)

    def close(self) -> None:
        """Close the environment, and whoever draws it."""
        if self.drawer is not None and self.drawer.painter is not None:
            self.drawer.painter.close()
        if self.reality is not None:
            self.reality.close()

    # ------------------------------------------------------------------ a step

    def step(self, action: Any = None) -> Scene:
        """
        Do one step in reality and in all dreams.

        :param action: of a person, in replay form; None: at rest. Whoever else acts does not ask
        :raises ValueError: for what is no action, and before an episode has begun
        """
        if self._begun is None:
            raise ValueError("No episode has begun: reset() begins one.")
        pilot = self.pilot
        if pilot == "script":
            self._follow_events()
            assert self._plan is not None
            if len(self._actions) >= len(self._plan.actions):  # events were left, and no action
                self.pilot = "person"
                return self._scene(None)
        # Its own part of the plan ends with its last action or event.
        given = self._given(pilot, self.controls.rest if action is None else action)
        if self._reality_is() != "runs":
            self._watcher.see(self._dreamed_first)
        chosen = self._watcher.act(self._choice(pilot, given))
        encoded = chosen.cpu().numpy()
        done = self.policy.to_env_action(encoded)[0]
        reward = self._step_reality(done)
        self._show(self._dreams.step(np.stack([done] * self._n)))
        if reward is None:
            self._watcher.hear(self._promised)
        self._actions.append(encoded[0].tolist())
        scene = self._scene(reward)
        self.film.add(strip(scene.pictures))
        return scene

    def _given(self, pilot: str, action: Any) -> np.ndarray | None:
        """Return the action that a person, chance or a script has chosen, (1, dims)."""
        if pilot == "random":
            draws = self._random.random(self.controls.codec.replay_dim)
            sizes = self.controls.codec.sizes
            action = (2 * draws - 1 if not sizes else np.floor(draws * sizes)).tolist()
        if pilot == "script":
            assert self._plan is not None
            action = self._plan.actions[len(self._actions)]
            is_last = len(self._actions) + 1 == len(self._plan.actions)
            if is_last and self._followed == len(self._plan.events):
                self.pilot = "person"
        return None if pilot in ("agent", "planner") else self.controls.read(action)

    def _choice(self, pilot: str, given: np.ndarray | None) -> Any:
        if given is not None:
            forced = th.as_tensor(given, device=self.policy.device)
            return lambda *_: forced
        return None if self._planner is None or pilot == "agent" else self._planner.choose

    def _follow_events(self) -> None:
        """Do what a script says beside its next action."""
        assert self._plan is not None
        for event in self._plan.events[self._followed :]:
            if event.step > len(self._actions):
                return
            self._followed += 1  # also if it cannot be, because reality has ended: what follows can
            self.set_dreams(event.dreams) if event.what == "dreams" else self.go_on_from_here()

    def _step_reality(self, action: Any) -> float | None:
        if self.reality is None or self._reality_is() != "runs":
            return None
        answer = self.reality.step(action)
        self._watcher.hear(answer.learned)
        self._seen, self.is_over = answer.observation, answer.ended
        self._watcher.see(self._seen)
        return answer.reward

    def _reality_is(self) -> str:
        if self._seen is None:
            return "absent"
        return "ended" if self.is_over else "runs"

    # ------------------------------------------------------------------ dreams

    def _set_dreams(self, n: int) -> None:
        _check_dreams(n)
        self._n, self._dreams = n, self._dream(n, "initial")

    def _dream(self, n: int, start: Any) -> DreamVectorEnv:
        return DreamVectorEnv(
            self.model,
            n,
            start=start,
            horizon=None,
            termination=None,
            autoreset_mode=AutoresetMode.DISABLED,
        )

    def _go_on(self, state: Any) -> None:
        """Let all dreams begin in one state, each time with other random numbers."""
        self._parted += 1
        seed = (self.seed + 7_919 * (self._parted - 1)) % 2**32
        obs, info = self._dreams.reset(seed=seed, options={"state": state})
        self._show((obs, th.zeros(self._n), None, None, info))

    def _show(self, step: tuple[Any, ...]) -> None:
        obs, reward, _, _, info = step
        self._observed = to_host(obs)
        values = {"reward": reward, **{k: info[k] for k in ("continue", "entropy")}}
        if "value" in info:
            values["value"] = info["value"]
        said = {name: to_host(x).astype(float) for name, x in values.items()}
        self._promised = float(said["reward"][0])
        if self.reality is not None:
            for name in ("reward", "value") & said.keys():
                said[name] = self.reality.unit.earned(said[name])
        self._dreamed = {name: x.tolist() for name, x in said.items()}

    @property
    def _dreamed_first(self) -> Any:
        return _rows(self._observed, slice(1))

    # ------------------------------------------------------------------ what is seen

    def _find_drawer(self) -> None:
        painter = None
        self._knows_reality = self.reality is not None and self._seen is not None
        if self.reality is not None and self._seen is not None:
            painter = self.reality.painter(self._seen)
        self.drawer = Drawer(self.policy.observation_codec, painter)

    def _raw(self, observation: Any) -> Any:
        return observation if self.reality is None else self.reality.raw(observation)

    def _scene(self, reward: float | None) -> Scene:
        drawer = self.drawer
        assert drawer is not None, "reset() comes first"
        dreams = [first(self._raw(_rows(self._observed, slice(i, i + 1)))) for i in range(self._n)]
        pictures = [drawer.draw(dream) for dream in dreams]
        real = difference = error = None
        if self.reality is not None and self._seen is not None:
            seen = first(self._raw(self._seen))
            drawn = drawer.draw(seen)
            own = self.reality.picture if drawer.painter is None else None
            real = drawn if own is None else smaller(own)
            if self._reality_is() == "runs":
                difference = drawer.difference(seen, dreams[0], (drawn, pictures[0]))
                error = drawer.error(seen, dreams[0])
        return Scene(
            len(self._actions),
            Pictures(real, pictures, difference),
            reward,
            self._dreamed,
            error,
            drawer.spread(dreams),
            self._actions[-1] if self._actions else None,
            self._reality_is(),
        )


def _check_dreams(n: Any) -> None:
    if not isinstance(n, int) or not 1 <= n <= MOST_DREAMS:
        raise ValueError(f"dreams={n!r}; expected a whole number from 1 to {MOST_DREAMS}.")


def _rows(observation: Any, rows: slice) -> Any:
    if isinstance(observation, dict):
        return {name: part[rows] for name, part in observation.items()}
    return observation[rows]
