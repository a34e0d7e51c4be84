"""What a person can do with a dream, with real environments and without, for every agent."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

import dreamzoo
from dreamzoo import DreamerV3
from dreamzoo.common.environments.normalizer import NORMALIZER, load_normalizer, save_normalizer
from dreamzoo.envs import DreamVectorEnv
from dreamzoo.planning import CEM
from dreamzoo.playing import PlaySession, Scene
from dreamzoo.playing import record as record_module
from dreamzoo.playing.messages import pack_scene, unpack
from dreamzoo.playing.reality import Reality, maker
from tests.facts import HAS_MODEL
from tests.playing.conftest import SMALL, agent_of

#: What happens beside the first action.
LATER = dict(step=1, what="dreams", dreams=1)
FEW = CEM(horizon=2, iterations=1, candidates=4, elites=2)


def _same(a: Scene, b: Scene) -> bool:
    rest = a._replace(pictures=None) == b._replace(pictures=None)  # type: ignore[arg-type]
    pairs = zip(a.pictures.dreams, b.pictures.dreams, strict=True)
    return rest and all(np.array_equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("name", HAS_MODEL)
@pytest.mark.parametrize("alone", [True, False])
def test_any_agent_can_be_played_with(name: str, alone: bool) -> None:
    agent = agent_of(name)
    make_env = None if alone else maker(agent, "Pendulum-v1")
    session = PlaySession(agent, make_env, dreams=2, cem=FEW)
    scene = session.reset()
    assert scene.reality == ("absent" if alone else "runs")
    for pilot in ("person", "agent", "planner", "random"):
        session.pilot = pilot
        scene = session.step()
        assert all(len(row) == 2 for row in scene.dreamed.values())
        assert (scene.reward is None) == (scene.error is None) == alone
    assert scene.step == 4
    assert ("value" in scene.dreamed) == (agent.policy.value(session._dreams.latent) is not None)
    if not alone:
        assert session.go_on_from_here().step == 4
    session.close()


def test_both_worlds_get_the_action_that_is_said(session: PlaySession) -> None:
    session.reset(seed=0)
    env = gym.make("CartPole-v1")
    before, _ = env.reset(seed=0)
    np.testing.assert_allclose(session._seen[0], before)
    for action in (1, 1, 0):
        session.step([action])
        before, *_ = env.step(action)
    np.testing.assert_allclose(session._seen[0], before)
    assert session.script.actions == [[1], [1], [0]]


def test_the_dream_begins_in_what_the_model_has_seen(cartpole: DreamerV3) -> None:
    """A start after one real observation is the one that a context of it gives."""
    session = PlaySession(cartpole, maker(cartpole, "CartPole-v1"))
    session.reset(seed=3)
    model, codec = cartpole.policy.world_model, cartpole.policy.action_codec
    obs = th.as_tensor(session._seen)
    with th.no_grad():
        expected = model.observe(
            model.initial(1), th.zeros(1, codec.dim), obs, th.tensor([True]), mode=True
        )
    assert th.equal(session._dreams.latent.feat, expected.feat)


def test_going_on_from_here_shows_the_model_all_that_was_real(cartpole: DreamerV3) -> None:
    """The person's actions count, not those that the agent would have chosen."""
    session = PlaySession(cartpole, maker(cartpole, "CartPole-v1"))
    session.reset(seed=0)
    seen, actions = [session._seen], [1, 0, 0, 1]
    for action in actions:
        session.step([action])
        seen.append(session._seen)
    session.go_on_from_here()
    model, codec = cartpole.policy.world_model, cartpole.policy.action_codec
    latent, before = model.initial(1), th.zeros(1, codec.dim)
    with th.no_grad():
        for t, obs in enumerate(seen):
            is_first = th.tensor([t == 0])
            latent = model.observe(latent, before, th.as_tensor(obs), is_first, mode=True)
            before = codec.encode(th.tensor([[actions[t]]])) if t < 4 else before
    assert th.allclose(session._dreams.latent.feat, latent.feat, atol=1e-6)


def test_the_agent_acts_as_predict_does(cartpole: DreamerV3) -> None:
    session = PlaySession(cartpole, maker(cartpole, "CartPole-v1"))
    session.reset(seed=0)
    session.pilot = "agent"
    env = make_vec_env("CartPole-v1")
    env.seed(0)
    obs, state = env.reset(), None
    for _ in range(5):
        action, state = cartpole.predict(obs, state, deterministic=True)  # type: ignore[arg-type]
        assert session.step().action == action.tolist()
        obs, *_ = env.step(action)


def test_a_person_takes_over_and_gives_back(session: PlaySession) -> None:
    session.reset(seed=0)
    session.pilot = "agent"
    session.step([0])
    session.pilot = "person"
    assert [session.step([a]).action for a in (0, 1, 0)] == [[0], [1], [0]]
    session.pilot = "agent"
    assert session.step([0]).step == 5


def test_dreams_of_one_moment_begin_alike_and_part(session: PlaySession) -> None:
    session.reset(seed=0)
    session.step([1])
    alone = session._dreams.latent.feat
    scene = session.set_dreams(4)
    assert th.equal(session._dreams.latent.feat, alone.expand(4, -1))
    assert scene.spread == 0.0
    for _ in range(3):
        scene = session.step([1])
    assert scene.spread is not None
    assert scene.spread > 0.0
    assert len(scene.pictures.dreams) == 4
    assert session.set_dreams(1).spread is None


def test_going_on_twice_from_one_moment_draws_other_futures(session: PlaySession) -> None:
    session.reset(seed=0)
    futures = []
    for _ in range(2):
        session.go_on_from_here()
        futures.append(session._dreams._generator.get_state())
    assert not th.equal(*futures)


@pytest.mark.parametrize("start", ["real", "initial"])
def test_the_same_seed_start_and_actions_give_the_same_episode(
    start: str, session: PlaySession
) -> None:
    def play() -> list[Scene]:
        session.set_dreams(2)
        scenes = [session.reset(start, seed=5)]
        for pilot in ("random", "person", "agent"):
            session.pilot = pilot
            scenes += [session.step([1]) for _ in range(3)]
        return scenes

    session.reset()
    first, again = play(), play()
    assert all(_same(a, b) for a, b in zip(first, again, strict=True))
    assert not _same(first[0], session.reset(start, seed=6))


def test_a_saved_episode_happens_again(session: PlaySession, tmp_path: Path) -> None:
    session.reset(seed=2)
    session.pilot = "random"
    session.step()
    session.go_on_from_here()
    session.step()
    session.set_dreams(3)
    scene = session.step()
    session.save_actions(tmp_path / "actions.json")
    session.set_dreams(1)
    session.reset(seed=9)
    again = session.play_script((tmp_path / "actions.json").read_text())
    while session.pilot == "script":
        again = session.step()
    assert _same(scene, again)
    assert session.pilot == "person"


def _script(**more: Any) -> str:
    """Write an episode of one step, or what is no episode."""
    return json.dumps(dict(form=record_module.FORM, actions=[1], **more))


def test_what_was_done_after_the_last_action_is_done_again(
    session: PlaySession, tmp_path: Path
) -> None:
    session.reset(seed=2)
    session.step([1])
    session.set_dreams(2)
    scene = session.go_on_from_here()
    session.save_actions(tmp_path / "actions.json")
    session.play_script((tmp_path / "actions.json").read_text())
    assert session.step().step == 1
    assert session.pilot == "script"
    assert _same(session.step(), scene)
    assert session.pilot == "person"
    assert session.script.events == [(1, "dreams", 2), (1, "here", 2)]


def test_events_of_a_script_happen_once_also_where_they_cannot(session: PlaySession) -> None:
    """Reality ends in another step than it did, and the script goes on."""
    events = [dict(step=1, what=what, dreams=2) for what in ("dreams", "here")]
    session.play_script(_script(events=events))
    session.step()
    session.is_over = True
    with pytest.raises(ValueError, match="no real moment"):
        session.step()
    assert session.step().step == 1
    assert (session.pilot, session.script.events) == ("person", [(1, "dreams", 2)])


def test_a_saved_episode_is_readable(pendulum: DreamerV3, tmp_path: Path) -> None:
    """Actions are the environment's own, one picture of the video belongs to every step."""
    session = PlaySession(pendulum, maker(pendulum, "Pendulum-v1"))
    session.reset(seed=1)
    for action in ([1.0], [-0.5], [0.0]):
        session.step(action)
    session.save_actions(tmp_path / "x.json")
    session.save_video(tmp_path / "x.mp4", fps=10)
    data = json.loads((tmp_path / "x.json").read_text())
    assert data["actions"] == [[2.0], [-1.0], [0.0]]
    assert (data["seed"], data["start"]) == (1, "real")
    video = imageio.imread(tmp_path / "x.mp4")
    assert video.shape == (3, 250, 750, 3)  # reality, dream, difference
    session.close()


def test_a_plain_list_of_actions_is_played(pendulum: DreamerV3) -> None:
    session = PlaySession(pendulum)
    session.play_script("[[2.0], [-1.0]]")
    assert [session.step().action, session.step().action] == [[1.0], [-0.5]]
    assert session.pilot == "person"


def test_the_film_keeps_the_last_pictures(
    session: PlaySession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_module, "MOST_PICTURES", 2)
    film = record_module.Film()
    for _ in range(3):
        film.add(np.zeros((8, 8, 3), np.uint8))
    assert len(film) == 2
    session.reset()
    session.step()
    assert len(session.film) == 1
    session.reset()
    assert len(session.film) == 0


def test_a_film_is_written_picture_by_picture(tmp_path: Path) -> None:
    """Dreams come and go: pictures of many sizes, of which one at a time is in memory."""
    film, frame = record_module.Film(), np.full((101, 300, 3), 200, np.uint8)
    for i in range(40):
        film.add(frame[:, : 300 - 5 * i])
    tracemalloc.start()
    film.save(tmp_path / "x.mp4", fps=10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * frame.nbytes
    video = imageio.imread(tmp_path / "x.mp4")
    assert video.shape == (40, 102, 300, 3)
    assert abs(video[-1, :100, :96].mean() - 200) < 5
    assert video[-1, :, 112:].mean() < 5


def test_the_dream_goes_on_where_reality_has_ended(session: PlaySession) -> None:
    session.reset(seed=0)
    scene = session.step([1])
    while scene.reality == "runs":
        assert scene.reward == 1.0
        scene = session.step([1])
    assert scene.reality == "ended"
    assert abs(session._seen[0][2]) > 0.2, "the pole's last angle, not the next episode's first"
    last = scene.pictures.real
    session.pilot = "agent"
    scene = session.step()
    assert scene.reward is None
    assert np.array_equal(scene.pictures.real, last)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no real moment"):
        session.go_on_from_here()
    assert session.reset().reality == "runs"


def test_dreams_of_the_replay_begin_without_reality() -> None:
    agent = DreamerV3("MlpPolicy", "CartPole-v1", seed=0, device="cpu", **SMALL).learn(40)
    session = PlaySession(agent, maker(agent, "CartPole-v1"))
    scene = session.reset("replay", seed=0)
    assert (scene.reality, scene.pictures.real) == ("absent", None)
    other = session.reset("replay", seed=1)
    assert scene.dreamed != other.dreamed
    assert session.step([0]).reward is None


def test_images_are_shown_as_they_are() -> None:
    agent = DreamerV3("CnnPolicy", _pixels(), seed=0, device="cpu", **SMALL)
    session = PlaySession(agent, maker(agent, _pixels))
    scene = session.reset(seed=0)
    real, dream, difference = scene.pictures.real, *scene.pictures.dreams, scene.pictures.difference
    assert real is not None
    assert real.shape == dream.shape == (64, 64, 3)
    np.testing.assert_array_equal(real, _pixels().reset(seed=0)[0])
    assert difference is not None
    np.testing.assert_array_equal(difference, (dream.astype(int) - real + 255) // 2)


def _pixels() -> gym.Env:
    from dreamzoo.envs import make_env

    return make_env("pixels/CartPole-v1")


def test_normalized_observations_are_drawn_as_they_were() -> None:
    """The agent sees them normalized; a person sees the environment."""
    env = VecNormalize(make_vec_env("CartPole-v1"))
    env.reset()
    for _ in range(30):
        env.step(np.array([env.action_space.sample()]))
    agent = DreamerV3("MlpPolicy", env, seed=0, device="cpu", **SMALL)
    plain = DreamerV3("MlpPolicy", "CartPole-v1", seed=0, device="cpu", **SMALL)
    scenes = []
    for model in (agent, plain):
        session = PlaySession(model, maker(model, "CartPole-v1"))
        scenes.append(session.reset(seed=0))
        scenes.append(session.step([1]))
        assert session.drawer is not None
        assert session.drawer.painter is not None
    for a, b in zip(scenes[:2], scenes[2:], strict=True):
        different = a.pictures.real != b.pictures.real
        assert np.mean(different) < 0.01
    assert scenes[1].reward == 1.0


def _normalized(scale: float = 4.0) -> tuple[DreamerV3, VecNormalize]:
    """Make an agent that is trained on observations and rewards that are normalized."""
    env = VecNormalize(make_vec_env("CartPole-v1"))
    observed: Any = env.obs_rms
    observed.mean, env.ret_rms.var = np.ones(4), np.float64(scale**2)
    agent = DreamerV3("MlpPolicy", env, seed=0, device="cpu", **SMALL)
    with th.no_grad():
        th.nn.init.normal_(agent.policy.world_model.reward.out.weight)
    return agent, env


@pytest.mark.parametrize("where", ["own", "named", "loaded"])
def test_rewards_of_a_dream_are_shown_as_the_environment_gives_them(
    where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And told to the agent as it has learned them."""
    agent, env = _normalized(scale=4.0)
    make_env = maker(agent, env if where == "own" else "CartPole-v1")
    if where == "loaded":
        agent.save(tmp_path / "model.zip")
        save_normalizer(env, tmp_path / NORMALIZER)
        agent = dreamzoo.load(tmp_path / "model.zip", device="cpu")  # type: ignore[assignment]
        usual = load_normalizer(tmp_path / "model.zip")
        make_env = maker(agent, "CartPole-v1", usual=usual)
    session = PlaySession(agent, make_env)
    heard: list[float] = []
    monkeypatch.setattr(session._watcher, "hear", heard.append)
    session.reset(seed=0)
    scene = session.step([1])
    assert scene.reward == 1.0
    assert heard == [pytest.approx(0.25)]
    assert session._promised != 0.0
    assert scene.dreamed["reward"] == [pytest.approx(4 * session._promised)]
    session.is_over = True
    scene = session.step([1])
    assert heard[1:] == [pytest.approx(scene.dreamed["reward"][0] / 4)]


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("said", ["normalizer", "usual", "own"])
def test_a_vec_env_is_normalized_as_in_training(said: str, made: bool, cartpole: DreamerV3) -> None:
    agent, known = _normalized()
    given: dict[str, Any] = {} if said == "own" else {said: known}
    agent = agent if said == "own" else cartpole
    plain = make_vec_env("CartPole-v1")
    session = PlaySession(agent, maker(agent, plain if made else lambda: plain, **given))
    session.reset(seed=0)
    raw = session._raw(session._seen)
    assert np.abs(raw).max() < 0.1
    np.testing.assert_allclose(session._seen, raw - 1.0, rtol=1e-5)
    assert isinstance(session.reality, Reality)
    assert session.reality.env is not known


def test_an_environment_is_not_normalized_twice(cartpole: DreamerV3) -> None:
    _, known = _normalized()
    env = VecNormalize(make_vec_env("CartPole-v1"))
    for given in ({}, {"usual": known}):
        assert maker(cartpole, env, **given)() is env  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="VecNormalize of its own already"):
        PlaySession(cartpole, maker(cartpole, env, normalizer=known))


@pytest.mark.parametrize("inner", [False, True])
def test_the_agents_own_environment_learns_nothing_and_stays_open(
    inner: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, env = _normalized()
    closed: list[int] = []
    monkeypatch.setattr(env.unwrapped, "close", lambda: closed.append(1))
    observed: Any = env.obs_rms
    before = observed.count, env.ret_rms.count
    ways: list[Callable[[], VecEnv]] = [maker(agent, env.unwrapped if inner else env)]
    if not inner:
        ways += [agent.get_env, maker(agent, agent.get_env)]  # type: ignore[list-item,arg-type]
    for make_env in ways:
        session = PlaySession(agent, make_env)
        session.reset(seed=0)
        assert session.step([1]).reward == 1.0
        session.close()
    assert (observed.count, env.ret_rms.count) == before
    assert (env.training, env.norm_reward, closed) == (True, True, [])


def test_what_was_made_for_the_play_is_closed_with_it(
    cartpole: DreamerV3, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = PlaySession(cartpole, maker(cartpole, lambda: gym.make("CartPole-v1")))
    closed: list[int] = []
    assert session.reality is not None
    monkeypatch.setattr(session.reality.env.unwrapped, "close", lambda: closed.append(1))
    session.close()
    assert closed == [1]


def test_pictures_and_numbers_arrive(session: PlaySession) -> None:
    session.reset()
    scene = session.step()
    scene.dreamed["reward"][0] = float("inf")
    header, parts = unpack(pack_scene(scene, rate=3.0))
    assert header["dreamed"]["reward"] == [None], "infinity is no JSON"
    assert (header["step"], header["rate"], header["has_real"]) == (1, 3.0, True)
    assert len(parts) == 3
    for part in parts:
        assert imageio.imread(part).shape == (200, 300, 3)


def _wrong(session: PlaySession, what: str) -> Any:
    calls: dict[str, Any] = {
        "start": lambda: session.reset("replays"),
        "replay": lambda: session.reset("replay"),
        "dreams": lambda: session.set_dreams(9),
        "no dreams": lambda: session.set_dreams(0),
        "pilot": lambda: setattr(session, "pilot", "pilot"),
        "planner": lambda: setattr(session, "pilot", "planner"),
        "action": lambda: session.step([7]),
        "no JSON": lambda: session.play_script("{"),
        "no list": lambda: session.play_script('{"actions": [1]}'),
        "nothing": lambda: session.play_script("[]"),
        "others": lambda: session.play_script("[[0.5]]"),
        "words": lambda: session.play_script('["left"]'),
        "event": lambda: session.play_script(_script(events=[1])),
        "seed": lambda: session.play_script(_script(seed=-1)),
        "from": lambda: session.play_script(_script(start="there")),
        "no moment": lambda: session.play_script(_script(start="replay", dreams=2)),
        "many": lambda: session.play_script(_script(dreams=9)),
        "many later": lambda: session.play_script(_script(events=[dict(LATER, dreams=9)])),
        "after the end": lambda: session.play_script(_script(events=[dict(LATER, step=2)])),
        "here": lambda: session.play_script(
            _script(start="replay", events=[dict(LATER, what="here")])
        ),
        "video": lambda: session.save_video("x.mp4"),
    }
    return calls[what]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("start", "no start here"),
        ("replay", "replay"),
        ("dreams", "from 1 to 8"),
        ("no dreams", "from 1 to 8"),
        ("pilot", "cannot act here"),
        ("planner", "cannot act here"),
        ("action", "no action here"),
        ("no JSON", "no JSON"),
        ("no list", "no list of actions"),
        ("nothing", "no actions"),
        ("others", "no actions of"),
        ("words", "no actions of"),
        ("event", "events"),
        ("seed", "whole numbers"),
        ("from", "expected real, initial or replay"),
        ("no moment", "replay buffer holds no sequence"),
        ("many", "from 1 to 8"),
        ("many later", "from 1 to 8"),
        ("after the end", "cannot happen"),
        ("here", "cannot happen without the real environment"),
        ("video", "nothing to save"),
    ],
)
def test_what_cannot_be_is_said_and_the_play_goes_on(
    what: str, said: str, session: PlaySession
) -> None:
    session.reset(seed=0)
    with pytest.raises(ValueError, match=said):
        _wrong(session, what)()
    assert session.step([1]).step == 1
    assert (session.dreams, session.script.start, session.seed) == (1, "real", 0)


def test_whoever_comes_next_finds_nothing_of_the_episode_before(session: PlaySession) -> None:
    session.reset(seed=3)
    session.play_script("[1, 0, 1]")
    session.step()
    session.make_as_new()
    assert (len(session.film), session.pilot, session.is_over) == (0, "person", False)
    for use in (session.step, lambda: session.script):
        with pytest.raises(ValueError, match="No episode has begun"):
            use()
    session.reset()
    assert session.step([1]).step == 1
    assert session.script.actions == [[1]]


def test_a_script_acts_in_its_own_episode_only(session: PlaySession) -> None:
    session.reset()
    with pytest.raises(ValueError, match="There is no script to follow"):
        session.pilot = "script"
    session.play_script("[1, 0, 1]")
    session.step()
    session.reset(seed=5)
    assert session.pilot == "person"
    session.step([1])
    assert session.script.actions == [[1]]


def test_events_that_are_wrong_are_named_one_by_one(session: PlaySession) -> None:
    many = [dict(step=1, what="dreams", dreams=1)] * 1_000
    text = dict(form=record_module.FORM, actions=[1], start="initial")
    with pytest.raises(ValueError, match=r"^The event 'dreams' at step 2 cannot happen") as caught:
        session.play_script(json.dumps(dict(text, events=[*many, dict(many[0], step=2)])))
    assert "at most 1 actions" in str(caught.value)
    assert len(str(caught.value)) < 200
    with pytest.raises(ValueError, match="The events cannot be read: expected a list"):
        session.play_script(json.dumps(dict(text, events=[*many, 7])))


def test_a_film_without_a_suffix_is_an_mp4(session: PlaySession, tmp_path: Path) -> None:
    session.reset()
    session.step([1])
    session.save_video(tmp_path / "film")
    assert (tmp_path / "film.mp4").stat().st_size > 500


def test_an_episode_that_was_saved_elsewhere_does_not_become_another(pendulum: DreamerV3) -> None:
    """Only a plain list of actions begins wherever dreams begin here."""
    alone = PlaySession(pendulum, has_replay=False)
    alone.reset()
    for start in ("real", "replay"):
        saved = json.dumps(dict(form=record_module.FORM, actions=[[1.0]], start=start))
        with pytest.raises(ValueError, match=f"{start!r} is no start here"):
            alone.play_script(saved)
    with pytest.raises(ValueError, match="cannot happen without the real environment"):
        alone.play_script(
            json.dumps(
                dict(form=record_module.FORM, actions=[[1.0]], events=[dict(LATER, what="here")])
            )
        )
    assert alone.step().step == 1
    alone.play_script("[[1.0]]")
    assert alone.script.start == "initial"


def test_environments_that_do_not_fit_are_refused(cartpole: DreamerV3) -> None:
    with pytest.raises(ValueError, match="spaces do not match"):
        PlaySession(cartpole, maker(cartpole, "Pendulum-v1"))
    with pytest.raises(ValueError, match="holds 2 environments"):
        PlaySession(cartpole, maker(cartpole, make_vec_env("CartPole-v1", n_envs=2)))


def test_a_state_without_a_step_is_left_alone(cartpole: DreamerV3) -> None:
    """The model is the agent's own: playing changes nothing in it."""
    before = {k: v.clone() for k, v in cartpole.policy.state_dict().items()}
    session = PlaySession(cartpole, maker(cartpole, "CartPole-v1"))
    session.reset()
    session.step()
    assert all(th.equal(v, before[k]) for k, v in cartpole.policy.state_dict().items())
    assert isinstance(session._dreams, DreamVectorEnv)
