"""Files of agents: no code runs, nothing else than was saved is taken, and little memory."""

import gc
import importlib
import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize

import dreamzoo
from dreamzoo import RLLSTM, DreamerV3
from dreamzoo.common.environments.normalizer import load_normalizer, save_normalizer
from dreamzoo.common.storage import agent_file
from dreamzoo.common.storage.agent_file import Budget
from dreamzoo.common.storage.plain import to_json
from dreamzoo.dreamer_v3 import MlpPolicy
from dreamzoo.envs import DreamEnv
from tests.resuming import assert_equal, everything
from tests.rewriting import Payload, members, payloads, rewrite, rewrite_json

TINY: dict[str, Any] = dict(DreamerV3.smallest, buffer_size=500, seed=0)


@pytest.fixture(scope="module")
def trained() -> DreamerV3:
    env = make_vec_env("CartPole-v1", n_envs=2, seed=0)
    return DreamerV3("MlpPolicy", env, learning_starts=16, **TINY).learn(40)


@pytest.fixture(scope="module")
def folder(trained: DreamerV3, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of every kind."""
    path = tmp_path_factory.mktemp("files")
    trained.save(path / "model.zip")
    trained.save_replay_buffer(path / "replay.npz")
    small = RLLSTM("MlpPolicy", "CartPole-v1", **RLLSTM.smallest).learn(20)
    small.save(path / "small.zip")
    small.save_training_state(path / "state.zip")
    save_normalizer(VecNormalize(make_vec_env("CartPole-v1")), path / "vecnormalize.zip")
    return path


@pytest.fixture
def agent(folder: Path) -> DreamerV3:
    """An agent in the middle of its training."""
    env = make_vec_env("CartPole-v1", n_envs=2, seed=0)
    loaded = DreamerV3.load(folder / "model.zip", env=env, trusted=True)
    loaded.load_replay_buffer(folder / "replay.npz", trusted=True)
    return loaded


def _loaders(agent: DreamerV3, folder: Path) -> dict[str, list[Callable[[Path], Any]]]:
    small = RLLSTM.load(folder / "small.zip")

    def statistics(path: Path) -> None:
        path.rename(path.parent / "vecnormalize.zip")
        load_normalizer(path.parent / "model.zip")

    agents: list[Any] = [DreamerV3.load, dreamzoo.load, DreamEnv, agent.set_parameters]
    return {
        "model.zip": agents,
        "replay.npz": [agent.load_replay_buffer],
        "state.zip": [small.load_training_state],
        "vecnormalize.zip": [statistics],
    }


@pytest.mark.parametrize("kind", ["model.zip", "replay.npz", "state.zip", "vecnormalize.zip"])
def test_no_member_of_any_file_runs_code(
    kind: str, agent: DreamerV3, folder: Path, tmp_path: Path
) -> None:
    """Whatever its author has put in the place of numbers, with an index that fits."""
    mark, count, loaders = tmp_path / "ran", 0, _loaders(agent, folder)[kind]
    for name in [*members(folder / kind), "trusted/learning_rate.pkl"]:
        for payload in payloads(mark):
            bad = tmp_path / "bad"
            rewrite(folder / kind, bad, {name: payload}) if name != "dreamzoo.json" else None
            if name == "dreamzoo.json":
                _write(bad, {**members(folder / kind), name: payload})
            for load in loaders:
                if bad.exists():
                    _try(load, bad)
            assert not mark.exists(), (kind, name)
            count += 1
    assert count > 10


def _write(path: Path, parts: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def _try(load: Callable[[Path], Any], path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            load(path)
        except ValueError:
            return


@pytest.mark.parametrize("file", ["pickle", "sb3"])
def test_files_of_others_run_no_code(
    file: str, agent: DreamerV3, folder: Path, tmp_path: Path
) -> None:
    """Pickles, and zip files as SB3 writes them, in the place of any file."""
    mark, bad = tmp_path / "ran", tmp_path / "bad"
    if file == "pickle":
        bad.write_bytes(pickle.dumps(Payload(mark)))
    else:
        other = DreamerV3("MlpPolicy", "CartPole-v1", **TINY)
        other.note = Payload(mark)  # type: ignore[attr-defined]
        BaseAlgorithm.save(other, bad)
    for loaders in _loaders(agent, folder).values():
        for load in loaders:
            if bad.exists():
                _try(load, bad)
    assert not mark.exists()


def test_what_only_code_can_say_is_read_if_it_is_trusted(tmp_path: Path) -> None:
    agent = DreamerV3("MlpPolicy", "CartPole-v1", learning_rate=lambda x: x / 50, **TINY)
    agent.note, agent.count = "mine", 3  # type: ignore[attr-defined]
    agent.save(tmp_path / "agent")
    said = r"agent holds learning_rate \(function\), note \(str\), count \(int\) as code"
    with pytest.warns(UserWarning, match=said):
        loaded: Any = DreamerV3.load(tmp_path / "agent")
    assert loaded.learning_rate == 4e-5
    assert not hasattr(loaded, "note")
    given = {"learning_rate": 1e-3, "note": "given", "nothing": 1}
    with pytest.warns(UserWarning, match=r"agent holds count \(int\) as code"):
        loaded = DreamerV3.load(tmp_path / "agent", custom_objects=given)
    assert (loaded.learning_rate, loaded.note) == (1e-3, "given")
    assert not hasattr(loaded, "nothing")
    loaded = DreamerV3.load(tmp_path / "agent", trusted=True)
    assert (loaded.learning_rate(1.0), loaded.note, loaded.count) == (0.02, "mine", 3)


def test_schedules_of_sb3_and_classes_of_torch_need_no_trust(tmp_path: Path) -> None:
    kwargs = dict(size="debug", optimizer_class=th.optim.Adam)
    small: Any = dict(TINY, policy_kwargs=kwargs, learning_rate=LinearSchedule(1e-3, 1e-4, 0.5))
    DreamerV3("MlpPolicy", "CartPole-v1", **small).save(tmp_path / "agent")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = DreamerV3.load(tmp_path / "agent")
    assert loaded.lr_schedule(0.75) == pytest.approx(5.5e-4)
    assert type(loaded.policy.optimizer) is th.optim.Adam


class _OwnPolicy(MlpPolicy):
    pass


def test_own_policies_are_given_or_trusted(tmp_path: Path) -> None:
    DreamerV3(_OwnPolicy, "CartPole-v1", **TINY).save(tmp_path / "agent")
    with pytest.raises(ValueError, match=r"agent holds policy_class .* custom_objects=\{'policy_c"):
        DreamerV3.load(tmp_path / "agent")
    given = {"policy_class": _OwnPolicy}
    assert type(DreamerV3.load(tmp_path / "agent", custom_objects=given).policy) is _OwnPolicy
    assert type(DreamerV3.load(tmp_path / "agent", trusted=True).policy) is _OwnPolicy


def test_parameters_are_read_whatever_else_a_file_holds(tmp_path: Path) -> None:
    """Only tensors are needed: nobody has to give, or trust, a class of the author's own."""
    saved, other = (DreamerV3(_OwnPolicy, "CartPole-v1", **dict(TINY, seed=i)) for i in range(2))
    saved.save(tmp_path / "agent")
    other.set_parameters(tmp_path / "agent", device="cpu")
    for name, tensor in saved.policy.state_dict().items():
        assert th.equal(tensor, other.policy.state_dict()[name])


def _set(name: str, value: Any) -> Callable[[Any], None]:
    return lambda data: data.__setitem__(name, value)


SPACE = {":space": ["Box", {"shape": [7], "dtype": "<f4", "low": 0, "high": 1}]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("stranger", 1), "holds stranger, which a DreamerV3 does not have"),
        (_set("learn", 1), "holds learn, which"),
        (_set("policy", 1), "holds policy, which"),
        (_set("settings", {}), "holds settings, which"),
        (_set("policy_aliases", {}), "holds policy_aliases, which"),
        (_set("_named", [1, "a"]), "holds _named, which"),
        (_set("gamma", 7), "gamma=7 must be"),
        (_set("batch_size", "many"), "batch_size='many' must be"),
        (_set("n_envs", 10**9), "is of 1000000000 environments"),
        (_set("policy_class", "OtherPolicy"), "OtherPolicy"),
        (_set("policy_class", {":class": "torch.nn.modules.linear:Linear"}), "Linear"),
        (_set("policy_kwargs", {"size": "12m"}), "cannot be read"),
        (_set("policy_kwargs", {"no_such_thing": 1}), "cannot be read"),
        (_set("policy_kwargs", [1]), "cannot be read"),
        (_set("observation_space", SPACE), "cannot be read"),
        (_set("observation_space", 5), "cannot be read"),
        (lambda data: data.pop("action_space") and None, "lacks action_space"),
        (lambda data: [], "cannot be read"),
        (lambda data: {}, "lacks policy_class"),
    ],
)
def test_attributes_that_an_agent_cannot_have_are_refused(
    change: Callable[[Any], Any], said: str, folder: Path, tmp_path: Path
) -> None:
    bad = rewrite_json(folder / "model.zip", tmp_path / "bad.zip", "data", change)
    with pytest.raises(ValueError, match=rf"bad\.zip.*{said}"):
        DreamerV3.load(bad)


def _size(kind: str, **widths: Any) -> Callable[[Any], None]:
    """Let a file say the widths of networks as an agent's own class of sizes does."""
    sizes = importlib.import_module(f"dreamzoo.{kind}.sizes")
    said = to_json({**vars(sizes.SIZES["debug"]), **widths})
    return _set("policy_kwargs", {"size": {":dataclass": [f"{sizes.__name__}:Size", said]}})


@contextmanager
def _little_memory() -> Iterator[None]:
    """Let the memory of this process grow by no more than 300 MB meanwhile."""
    gc.collect()  # what goes meanwhile would make up for what comes
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forget what was used before
    except OSError:
        pytest.skip("the system does not say how much memory was used at most")
    before = _most_memory()
    yield
    assert _most_memory() - before < 300_000


def _most_memory() -> int:
    """Return how much this process has held at most since then, in kB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def test_memory_that_was_used_is_noticed() -> None:
    with pytest.raises(AssertionError), _little_memory():
        th.ones(2 * 10**8)


BOMBS = [
    _set("policy_kwargs", {"size": "400m"}),
    _set("policy_kwargs", {"size": "debug", "units": 10**7}),
    _set("action_space", {":space": ["Discrete", {"n": 10**11, "start": 0, "dtype": "<i8"}]}),
    _set("observation_space", {":space": ["MultiBinary", {"n": [10**11]}]}),
    _set("buffer_size", 10**17),
    _size("dreamer_v3", head_layers=10**8),
    _size("dreamer_v3", observation_layers=10**8),
    _size("dreamer_v3", bins=10**8 + 1),
]


@pytest.mark.parametrize(
    ("file", "change"),
    [*(("model.zip", x) for x in BOMBS), ("small.zip", _size("merlin", layers=10**8))],
)
def test_a_small_file_does_not_ask_for_large_networks(
    file: str, change: Callable[[Any], Any], folder: Path, tmp_path: Path
) -> None:
    bad = rewrite_json(folder / file, tmp_path / "bad.zip", "data", change)
    with _little_memory(), pytest.raises(ValueError, match=r"bad\.zip"):
        dreamzoo.load(bad)


def test_many_small_networks_are_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor of one number is many bytes with the module around it."""
    monkeypatch.setattr(agent_file, "_ROOM", 2**22)
    made: list[th.Tensor] = []
    with pytest.raises(ValueError, match="larger networks than it holds"), Budget(0):
        made.extend(th.zeros(1) for _ in range(10**5))
    with Budget(0):
        for _ in range(200):  # nothing of these stays
            th.zeros(10**6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: th.arange(10**9),
        lambda: th.linspace(0, 1, 10**9),
        lambda: th.zeros(1).new_ones(10**5, 10**4),
        lambda: th.zeros(1).expand(10**9).double(),
    ],
)
def test_what_is_too_large_is_not_made_first(make: Callable[[], th.Tensor]) -> None:
    said = "larger networks than it holds"
    with _little_memory(), pytest.raises(ValueError, match=said), Budget(0):
        make()


def test_large_networks_of_a_beginner_are_loaded(tmp_path: Path) -> None:
    """Their file holds no averages of an optimizer, and initial weights are drawn repeatedly."""
    wide: Any = dict(TINY, policy_kwargs=dict(size="debug", net_arch=[1600, 1600]))
    DreamerV3("MlpPolicy", "CartPole-v1", **wide).save(tmp_path / "agent")
    assert type(DreamerV3.load(tmp_path / "agent")) is DreamerV3


def _tensors(change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        state = th.load(io.BytesIO(data), weights_only=True)
        change(state)
        file = io.BytesIO()
        th.save(state, file)
        return file.getvalue()

    return changed


def _first(state: Any) -> str:
    return next(name for name, x in state.items() if x.dim() == 2)


def _deflated(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", 8) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + bytes(10**6) * (name[-6:] == "data/0"))
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("policy", _tensors(lambda s: s.popitem()), "cannot be read"),
        ("policy", _tensors(lambda s: s.update(a=th.ones(1))), "cannot be read"),
        (
            "policy",
            _tensors(lambda s: s.update({_first(s): th.ones(3)})),
            r"expected torch.float32",
        ),
        ("policy", _tensors(lambda s: s.update({_first(s): s[_first(s)].double()})), "float64 of"),
        ("policy", _tensors(lambda s: s.update({_first(s): 1.0})), "cannot be read"),
        (
            "policy",
            _tensors(lambda s: s.update({_first(s): th.ones(1).expand(10**11)})),
            r"claims the shape \(100000000000,\)",
        ),
        (
            "policy.optimizer",
            _tensors(lambda s: [x.update(exp_avg=th.ones(7)) for x in s["state"].values()]),
            "cannot be read, its policy.optimizer",
        ),
        ("policy.optimizer", _tensors(lambda s: s.clear()), "cannot be read"),
        ("policy", _deflated, "promise more than they hold"),
        ("pytorch_variables", lambda data: b"", "cannot be read"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    name: str, change: Callable[[bytes], bytes], said: str, folder: Path, tmp_path: Path
) -> None:
    data = members(folder / "model.zip")[f"{name}.pth"]
    bad = rewrite(folder / "model.zip", tmp_path / "bad.zip", {f"{name}.pth": change(data)})
    with pytest.raises(ValueError, match=rf"bad\.zip.*{said}"):
        DreamerV3.load(bad)


def _set_kept(name: str, value: Any) -> Callable[[Any], None]:
    return lambda data: data["kept"].__setitem__(name, value)


REPLAY = [
    (_set("n_envs", 3), "streams have"),
    (_set("n_envs", 10**12), "streams have"),
    (_set("capacity", 0), "must be at least 1"),
    (_set("capacity", 10**15), "GB"),
    (_set("count", {":array": ["<i8", [2], "//////////8AAAAAAAAAAA=="]}), "streams have"),
    (_set("latents", {}), "holds latents of"),
    (_set("observation_space", SPACE), "holds observations of"),
    (_set("kept", {}), "expected"),
    (_set_kept("learn", 1), "expected"),
    (_set_kept("rng", 1), "its rng is 1"),
    (_set_kept("_next_reward", {":array": ["<f8", [1], "AAAAAAAAAAA="]}), "its _next_reward is"),
    (_set_kept("_online", {":deque": [None, [{":tuple": [5, 0]}]]}), "names a window"),
]


@pytest.mark.parametrize(("change", "said"), REPLAY)
def test_replays_that_are_none_are_refused_and_leave_the_agent_as_it_was(
    change: Callable[[Any], Any], said: str, agent: DreamerV3, folder: Path, tmp_path: Path
) -> None:
    bad = rewrite_json(folder / "replay.npz", tmp_path / "bad.npz", "replay.json", change)
    before, buffer = everything(agent), agent.replay_buffer
    with pytest.raises(ValueError, match=rf"bad\.npz.*{said}"):
        agent.load_replay_buffer(bad, trusted=True)
    assert agent.replay_buffer is buffer
    assert_equal(before, everything(agent))


TRAINING = [
    _set("torch", {":array": ["<u1", [2], "AAA="]}),
    _set("numpy", {":tuple": ["MT19937", 1]}),
    _set("python", {":tuple": [3, {":tuple": [1]}, None]}),
    _set("generator", 5),
    _set("memory", []),
    _set("normalizer", 3),
    lambda state: {**state, "cuda": 5},
    lambda state: {name: x for name, x in state.items() if name != "cuda"},
    lambda state: 1,
    _set("n_envs", 5),
]


@pytest.mark.parametrize("change", TRAINING)
def test_states_that_are_none_are_refused_and_leave_the_agent_as_it_was(
    change: Callable[[Any], Any], agent: DreamerV3, folder: Path, tmp_path: Path
) -> None:
    bad = rewrite_json(folder / "replay.npz", tmp_path / "bad.npz", "training.json", change)
    before, streams = everything(agent), (th.get_rng_state(), _state_of_numpy())
    with pytest.raises(ValueError, match=r"bad\.npz"):
        agent.load_replay_buffer(bad, trusted=True)
    assert_equal(before, everything(agent))
    assert th.equal(th.get_rng_state(), streams[0])
    assert _state_of_numpy() == streams[1]


def _state_of_numpy() -> list[int]:
    state: Any = np.random.get_state(legacy=False)
    return [*state["state"]["key"].tolist(), state["state"]["pos"]]


def test_members_say_what_sb3s_say(folder: Path) -> None:
    parts = members(folder / "model.zip")
    data = json.loads(parts["data"])
    assert data["policy_class"] == "MlpPolicy"
    assert data["gamma"] == pytest.approx(0.997, abs=1e-3)
    assert not [name for name in parts if name.startswith("trusted/")]
    assert not [name for name, part in parts.items() if part[:1] == b"\x80"]
    assert parts["_stable_baselines3_version"].decode().count(".") == 2
