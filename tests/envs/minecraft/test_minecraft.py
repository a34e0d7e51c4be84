"""Minecraft's diamond task: MineRL's own environment class talks to a stand-in for the game."""

import importlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env as check_gymnasium_env
from stable_baselines3.common.env_checker import check_env as check_sb3_env
from stable_baselines3.common.vec_env import SubprocVecEnv

from dreamzoo import DreamerV3
from dreamzoo.envs import make_env, make_minecraft
from dreamzoo.envs.minecraft.actions import ACTIONS
from dreamzoo.envs.minecraft.env import MILESTONES
from dreamzoo.envs.minecraft.install import INSTALL
from tests.envs.minecraft import malmo
from tests.envs.minecraft.malmo import Death, Malmo, Story

minerl = pytest.importorskip("minerl", reason=f"needs {INSTALL}")
psutil = pytest.importorskip("psutil", reason=f"needs {INSTALL}")
etree = pytest.importorskip("lxml.etree", reason=f"needs {INSTALL}")

SCHEMAS = Path(minerl.__file__).parent / "Malmo" / "Schemas"
NAMES = list(ACTIONS)
Play = Callable[..., tuple[Any, Malmo]]


@pytest.fixture
def play() -> Iterator[Play]:
    """Start a game with a story, and an environment that plays it; close both in the end."""
    started: list[Any] = []

    def start(story: Story | None = None, **settings: Any) -> tuple[Any, Malmo]:
        game = Malmo(story)
        env = make_minecraft(port=game.port, **settings)
        started.extend((env, game))
        return env, game

    yield start
    for each in started:
        each.close()


def step(env: Any, name: str = "noop") -> tuple[Any, float, bool, bool, dict[str, Any]]:
    return env.step(NAMES.index(name))


def eventually(is_so: Callable[[], bool]) -> None:
    """Wait for what needs no answer."""
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def mission_of(game: Malmo) -> Any:
    return etree.fromstring(game.missions[-1].encode())


def tags(mission: Any, section: str) -> list[str]:
    return [etree.QName(each).localname for each in mission.find(f".//{{*}}{section}")]


# ------------------------------------------------------------------ the mission


def test_an_episode_begins_with_a_hello_a_quit_a_mission_and_a_look(play: Play) -> None:
    env, game = play()
    env.reset()
    said = [message.split(">")[0].split(" ")[0] for message in game.said]
    assert said == ["<MalmoEnv0.37.0/", "<Quit/", "<MissionInit", "<Peek/"]
    uid, role, reset, agents, synchronous, seed = game.tokens[0].split(":")
    assert (role, reset, agents, synchronous) == ("0", "0", "1", "true")
    assert mission_of(game).findtext(".//{*}ExperimentUID") == uid
    assert int(seed) >= 0


def test_a_mission_that_is_refused_is_sent_again(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    env, game = play(Story(busy=2))
    env.reset()
    assert Counter(message[:12] for message in game.said)["<MissionInit"] == 3
    assert len(game.missions) == 1


def test_the_mission_is_the_papers(play: Play) -> None:
    env, game = play()
    env.reset()
    mission = mission_of(game)
    boilerplate = ["FileBasedPerformanceProducer", "ObservationFromDamage", "PauseCommand"]
    seen = ["VideoProducer", "ObservationFromFullInventory", "ObservationFromEquippedItem"]
    seen += ["ObservationFromFullStats"]
    done = ["HumanLevelCommands", "CameraCommands", "PlaceCommands", "EquipCommands"]
    done += ["SimpleCraftCommands", "NearbyCraftCommands", "NearbySmeltCommands"]
    # Neither rewards nor an end, of the mission's own.
    assert tags(mission, "AgentHandlers") == boilerplate + seen + done
    assert tags(mission, "ServerHandlers") == [
        "DefaultWorldGenerator",
        "ServerQuitWhenAnyAgentFinishes",
    ]
    assert mission.find(".//{*}DefaultWorldGenerator").get("forceReset") == "true"
    assert mission.findtext(".//{*}BreakSpeedMultiplier") == "100.0"
    assert mission.findtext(".//{*}StartTime") == "0"
    assert mission.findtext(".//{*}AllowPassageOfTime") == "true"
    assert mission.findtext(".//{*}AllowSpawning") == "true"
    assert mission.find(".//{*}AgentSection").get("mode") == "Survival"
    size = mission.find(".//{*}VideoProducer")
    assert (size.findtext("{*}Width").strip(), size.findtext("{*}Height")) == ("64", "64")


def test_the_game_would_accept_the_mission(play: Play) -> None:
    env, game = play()
    env.reset()
    schema = etree.XMLSchema(etree.parse(str(SCHEMAS / "MissionInit.xsd")))
    schema.assertValid(mission_of(game))


def test_settings_reach_the_mission(play: Play) -> None:
    env, game = play(size=96, break_speed=5)
    image = env.reset()[0]["image"]
    assert image.shape == env.observation_space["image"].shape == (96, 96, 3)
    assert mission_of(game).findtext(".//{*}BreakSpeedMultiplier") == "5"


# ------------------------------------------------------------------ observations


def test_the_first_observation_is_that_of_a_new_player(play: Play) -> None:
    env, _ = play()
    obs, info = env.reset()
    assert obs in env.observation_space
    assert obs["image"][-1].min() == 255  # the game sends the last row first
    assert obs["image"][:-1].max() == 0
    hand = env.unwrapped.observation_space["equipped"].shape[0]
    assert (obs["equipped"].sum(), hand) == (1, 393)
    assert [float(obs[key][0]) for key in ("health", "hunger", "breath")] == [1, 1, 1]
    assert info == {"milestones": {}}
    # All that is carried is air: empty pockets.
    assert {env.items[i]: obs["inventory"][i] for i in np.flatnonzero(obs["inventory"])} == {
        "air": 41
    }


def test_observations_follow_the_game(play: Play) -> None:
    story = Story(
        {
            1: {"inventory": {"log": 2, "log2": 3}, "life": 15.0, "food": 10, "air": 60},
            2: {"inventory": {"planks": 4}, "held": "wooden_pickaxe"},
        }
    )
    env, _ = play(story, render_mode="rgb_array")
    start, _ = env.reset()
    first, *_ = step(env)
    second, *_ = step(env)

    def count(obs: Any, item: str) -> tuple[float, float]:
        index = env.items.index(item)
        return obs["inventory"][index], obs["inventory_max"][index]

    assert count(start, "log") == (0, 0)
    assert count(first, "log") == (5, 5)  # both kinds
    assert count(second, "log") == (0, 5)
    assert count(second, "planks") == (4, 4)
    assert "log2" not in env.items
    vitals = [float(first[key][0]) for key in ("health", "hunger", "breath")]
    assert vitals == pytest.approx([0.75, 0.5, 0.2])
    held = np.flatnonzero(second["equipped"]) == sorted([*env.items, "log2", "other"]).index(
        "wooden_pickaxe"
    )
    assert held.tolist() == [True]
    assert (second["image"][0] == 2).all()
    np.testing.assert_array_equal(env.render(), second["image"])
    assert (start["image"][0] == 0).all()  # what was shown before is still what it was


def test_two_hundred_steps(play: Play) -> None:
    env, game = play()
    env.action_space.seed(0)
    env.reset(seed=0)
    for number in range(1, 201):
        obs, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert (reward, terminated, truncated) == (0.0, False, False)
        assert (obs["image"][0] == number).all()
    assert len(game.commands) == 200
    eventually(lambda: Counter(message[:11] for message in game.said)["<StepServer"] == 200)


# ------------------------------------------------------------------ actions

IDLE = {
    **dict.fromkeys(("forward", "back", "left", "right", "jump", "sneak", "attack"), "0"),
    "camera": "0.0 0.0",
    **dict.fromkeys(("craft", "craftNearby", "smeltNearby", "place", "equip"), "none"),
}


def test_every_action_says_what_it_should(play: Play) -> None:
    env, game = play(sticky_jump=0)
    env.reset()
    expected = [
        {},
        {"attack": "1"},
        {"camera": "-15.0 0.0"},
        {"camera": "15.0 0.0"},
        {"camera": "0.0 -15.0"},
        {"camera": "0.0 15.0"},
        *({key: "1"} for key in ("forward", "back", "left", "right")),
        {"jump": "1", "forward": "1"},
        {"place": "dirt"},
        {"craft": "planks"},
        {"craft": "stick"},
        {"craft": "crafting_table"},
        {"place": "crafting_table"},
        *({"craftNearby": f"{of}_pickaxe"} for of in ("wooden", "stone", "iron")),
        *({"equip": f"{of}_pickaxe"} for of in ("stone", "wooden", "iron")),
        {"craftNearby": "furnace"},
        {"place": "furnace"},
        {"smeltNearby": "iron_ingot"},
    ]
    assert env.action_space == spaces.Discrete(len(expected)) == spaces.Discrete(25)
    for action in range(25):
        env.step(np.int64(action))
    assert game.commands == [{**IDLE, **words} for words in expected]
    assert env.unwrapped.action_names[12] == "craft_planks"


def keys(game: Malmo, key: str) -> str:
    return "".join(command[key] for command in game.commands)


def test_a_jump_lasts_ten_steps_and_an_attack_one(play: Play) -> None:
    env, game = play()
    env.reset()
    for name in ("jump", "back", *["noop"] * 10, "attack", "noop"):
        step(env, name)
    assert keys(game, "jump") == keys(game, "forward") == "1" * 10 + "0" * 4
    assert keys(game, "back") == "01" + "0" * 12
    assert keys(game, "attack") == "0" * 12 + "10"


def test_an_attack_may_last_and_keeps_from_jumping(play: Play) -> None:
    env, game = play(break_speed=1, sticky_attack=4, sticky_jump=3)
    env.reset()
    for name in ("attack", "jump", "noop", "noop", "jump", "noop", "attack", "noop"):
        step(env, name)
    assert keys(game, "attack") == "11110011"
    assert keys(game, "jump") == "00001110"
    step(env, "attack")
    env.reset()  # lets go
    step(env)
    assert game.commands[-1] == IDLE


def test_the_head_turns_between_its_limits(play: Play) -> None:
    env, game = play(pitch_limits=(-30, 15))
    env.reset()
    for name in ("turn_up", "turn_up", "turn_up", "turn_left", *["turn_down"] * 5):
        step(env, name)
    cameras = [command["camera"].split() for command in game.commands]
    pitches = [float(pitch) for pitch, _ in cameras]
    assert pitches == [-15, -15, 0, 0, 15, 15, 15, 0, 0]
    assert float(cameras[3][1]) == -15
    env.reset()  # looks ahead again
    step(env, "turn_up")
    assert game.commands[-1]["camera"] == "-15.0 0.0"


# ------------------------------------------------------------------ rewards and ends


def test_every_milestone_is_rewarded_once(play: Play) -> None:
    events: dict[int, Any] = {
        2 * i + 1: {"inventory": {item: 1}} for i, item in enumerate(MILESTONES)
    }
    events[30] = {"inventory": {"log": 7, "diamond": 2, "coal": 5}}
    env, _ = play(Story(events))
    assert len(MILESTONES) == 12
    for _ in range(2):  # and in the next episode again
        env.reset()
        steps = [step(env) for _ in range(31)]
        rewards = [reward for _, reward, *_ in steps]
        assert rewards == [1.0, 0.0] * 12 + [0.0] * 7
        told = steps[-1][-1]["milestones"]
        assert told == {item: 2 * i + 1 for i, item in enumerate(MILESTONES)}
        assert steps[0][-1] == {"milestones": {"log": 1}}
        assert not any(ended for _, _, *ends, _ in steps for ended in ends)


def test_what_the_player_begins_with_is_no_milestone(play: Play) -> None:
    env, _ = play(Story({0: {"inventory": {"log": 1}}, 2: {"inventory": {"log": 2, "stick": 1}}}))
    env.reset()
    assert [step(env)[1] for _ in range(3)] == [0.0, 1.0, 0.0]


def test_health_is_rewarded_as_it_comes_and_goes(play: Play) -> None:
    env, _ = play(Story({1: {"life": 14.0}, 3: {"life": 20.0}, 4: {"inventory": {"log": 1}}}))
    env.reset()
    rewards = [step(env)[1] for _ in range(4)]
    assert rewards == pytest.approx([-0.003, 0.0, 0.003, 1.0])


def test_a_death_terminates_and_the_limit_truncates(play: Play) -> None:
    env, game = play(Story(ends=3), length=3)
    for ends, expected in ((3, (True, False)), (None, (False, True))):
        game.story.ends = ends
        env.reset()
        assert [step(env)[2:4] for _ in range(3)] == [(False, False)] * 2 + [expected]
        with pytest.raises(RuntimeError, match=r"No episode runs. Call reset\(\) first"):
            step(env)
    unlimited: Any = make_minecraft(port=1)
    assert unlimited.length == 36_000


def test_a_reset_amid_an_episode_begins_another(play: Play) -> None:
    env, game = play(Story({2: {"inventory": {"log": 1}}}))
    env.reset()
    for _ in range(3):
        step(env)
    obs, info = env.reset()
    assert info == {"milestones": {}}
    assert obs["inventory_max"][env.items.index("log")] == 0
    assert len(game.missions) == 2
    assert [step(env)[1] for _ in range(2)] == [0.0, 1.0]


def test_a_seed_decides_the_worlds_and_they_differ(play: Play) -> None:
    def worlds(**settings: Any) -> list[str]:
        env, game = play(**settings)
        for _ in range(2):
            env.reset()
        return [token.split(":")[-1] for token in game.tokens]

    first = worlds(seed=1)
    assert first == worlds(seed=1)
    assert len({*first, *worlds(seed=2), *worlds(), *worlds()}) == 8
    env, game = play()
    for _ in range(2):
        env.reset(seed=1)
    assert [token.split(":")[-1] for token in game.tokens] == first[:1] * 2


# ------------------------------------------------------------------ a game that dies

DEATHS: dict[Death, str] = {
    **dict.fromkeys(("silent", "amid the picture", "no reward", "no state"), "no answer"),
    "frozen": "no answer",
    "nonsense": "Expecting property name",
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_game_that_dies_is_an_error_and_the_next_reset_meets_another(
    death: Death, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minerl.env._multiagent.SOCKTIME", 1.0)  # seconds, of 240
    env, game = play(Story(death=death, dies=3))
    env.reset()
    for _ in range(2):
        step(env)
    expected = rf"Minecraft at port {game.port} died in step 3 of an episode: {DEATHS[death]}"
    with pytest.raises(RuntimeError, match=expected):
        step(env)
    with pytest.raises(RuntimeError, match="No episode runs"):
        step(env)
    game.close()
    with pytest.raises(RuntimeError, match=r"did not start an episode: .*refused"):
        env.reset()
    another = Malmo(port=game.port)
    env.reset()
    assert (step(env)[0]["image"][0] == 1).all()
    another.close()


def test_an_interrupted_step_ends_the_game(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an answer would be taken for the next step's."""
    env, _ = play()
    env.reset()
    with monkeypatch.context() as patched:

        def interrupt(*args: Any) -> None:
            raise KeyboardInterrupt

        patched.setattr("minerl.env.comms.recv_message", interrupt)
        with pytest.raises(KeyboardInterrupt):
            step(env)
    with pytest.raises(RuntimeError, match="No episode runs"):
        step(env)
    env.reset()
    assert (step(env)[0]["image"][0] == 1).all()


def test_training_says_that_the_game_has_died(play: Play) -> None:
    env, _ = play(Story(death="no state", dies=8))
    model = DreamerV3("MultiInputPolicy", env, **{**DreamerV3.smallest, "learning_starts": 100})
    with pytest.raises(RuntimeError, match="died in step 8 of an episode: no answer"):
        model.learn(20)


def test_a_worker_whose_game_dies_is_named_and_the_others_end_theirs() -> None:
    games = [Malmo(), Malmo(Story(death="no state", dies=4))]
    makers = [partial(make_minecraft, port=game.port) for game in games]
    env = SubprocVecEnv(makers)  # type: ignore[arg-type]
    model = DreamerV3("MultiInputPolicy", env, **{**DreamerV3.smallest, "learning_starts": 100})
    with pytest.raises(RuntimeError, match=r"worker 1 of 2 .* died"):
        model.learn(20)
    assert not any(process.is_alive() for process in env.processes)
    eventually(lambda: games[0].said[-1] == "<Disconnect/>")
    for game in games:
        game.close()


def test_closing_says_goodbye_and_may_be_done_twice(play: Play) -> None:
    env, game = play()
    env.close()
    env.reset()
    for _ in range(2):
        env.close()
    eventually(lambda: game.said[-1] == "<Disconnect/>")


# ------------------------------------------------------------------ a game of one's own


@pytest.fixture
def own_game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the stand-in where minerl has its game; return the script that starts it."""
    manager = importlib.import_module("minerl.env.malmo").InstanceManager
    folder = tmp_path / "Minecraft"
    (folder / "build" / "libs").mkdir(parents=True)
    (folder / "build" / "libs" / "MalmoMod-0.37.0-fat.jar").touch()
    script = folder / "launchClient.sh"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{malmo.__file__}" "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr(manager, "MINECRAFT_DIR", str(folder))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # minerl writes its logs where it is
    return script


def games(folder: Path) -> list[Any]:
    """List the processes of games that were started from here."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or ())
        if malmo.__file__ in command and str(folder) in command:
            found.append(process)
    return found


def test_a_game_is_started_replaced_when_it_dies_and_ended(own_game: Path, tmp_path: Path) -> None:
    env = make_minecraft()
    assert not games(tmp_path)  # before it is needed
    env.reset()
    assert (step(env)[0]["image"][0] == 1).all()
    (first,) = games(tmp_path)
    first.kill()
    eventually(lambda: first.status() == "zombie")
    with pytest.raises(RuntimeError, match=r"Minecraft died in step 2 .* reset\(\) starts another"):
        step(env)
    assert not games(tmp_path)
    env.reset()
    assert (step(env)[0]["image"][0] == 1).all()
    (second,) = games(tmp_path)
    assert second.pid != first.pid
    env.reset()
    assert games(tmp_path) == [second]  # episodes share it
    env.close()
    assert not games(tmp_path)
    assert not list(tmp_path.glob("tmp*"))  # each game has a folder of its own


def test_a_game_that_cannot_start_says_what_it_said(own_game: Path, tmp_path: Path) -> None:
    own_game.write_text("#!/bin/sh\necho starting\necho java: command not found\nexit 1\n")
    env = make_minecraft()
    expected = "Minecraft did not start an episode: java: command not found; .*unexpectedly"
    with pytest.raises(RuntimeError, match=expected):
        env.reset()
    assert not list(tmp_path.glob("tmp*"))


def test_a_copy_without_a_game_says_how_to_get_one(own_game: Path) -> None:
    (own_game.parent / "build" / "libs" / "MalmoMod-0.37.0-fat.jar").unlink()
    with pytest.raises(ImportError, match=r"without a game.*dreamzoo install-minerl --game"):
        make_env("minecraft/diamond")


# ------------------------------------------------------------------ users


def test_it_passes_the_checkers(play: Play) -> None:
    game = Malmo()
    env = make_env("minecraft/diamond", port=game.port, render_mode="rgb_array")
    check_gymnasium_env(env)
    check_sb3_env(env)
    env.close()
    game.close()


def test_an_agent_learns_on_it(play: Play) -> None:
    env, game = play(Story({5: {"inventory": {"log": 1}}}), length=20)
    settings: dict[str, Any] = {**DreamerV3.smallest, "buffer_size": 200}
    model = DreamerV3("MultiInputPolicy", env, **settings)
    assert model.learn(60).num_timesteps == 60
    assert len(game.missions) >= 3
    assert model.replay_buffer is not None


def test_mistaken_arguments_are_explained() -> None:
    with pytest.raises(ValueError, match=r"'diamnd'. Did you mean diamond"):
        make_env("minecraft/diamnd")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"size": 0}, "size must be"),
        ({"length": 0}, "length must be"),
        ({"break_speed": 0.0}, "break_speed must be"),
        ({"sticky_jump": -1}, "sticky_attack and sticky_jump must be"),
        ({"pitch_limits": (10, -10)}, "pitch_limits must be"),
    ]
    for settings, message in wrong:
        with pytest.raises(ValueError, match=message):
            make_minecraft(port=1, **settings)
