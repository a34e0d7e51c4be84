"""Which class a file may name as the one that it is loaded with."""

import base64
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm

import dreamzoo
from dreamzoo.common.exact_resume import ExactResume
from dreamzoo.common.storage.container import writing
from dreamzoo.envs import DreamEnv
from tests.rewriting import payloads


class OwnPPO(PPO):
    """A user's own agent of SB3."""


class OwnResumed(ExactResume, A2C):
    """One that writes files of dreamzoo's form."""


@pytest.mark.parametrize("kind", [PPO, A2C, OwnPPO], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "load",
    [
        dreamzoo.load,
        lambda path: dreamzoo.load(path, trusted=True),
        DreamEnv,
    ],
    ids=["untrusted", "trusted", "dream"],
)
def test_a_file_does_not_choose_a_loader_that_runs_code(
    kind: type[BaseAlgorithm], load: Callable[[Path], Any], tmp_path: Path
) -> None:
    """SB3's own ``load`` unpickles what a file holds; of this form it has written none."""
    mark, bad = tmp_path / "ran", tmp_path / "bad.zip"
    named = {"agent": f"{kind.__module__}:{kind.__qualname__}", "trusted": {}}
    for payload in payloads(mark):
        held = base64.b64encode(payload).decode()
        with bad.open("wb") as file, writing(file, "agent", "moment", named) as writer:
            writer.write_json("data", {"policy_class": {":type:": "x", ":serialized:": held}})
            writer.write("_stable_baselines3_version", b"2.9.2")
            writer.write("system_info.txt", b"x")
        with pytest.raises(ValueError, match=f"class {kind.__name__} of .* cannot be found"):
            load(bad)
        assert not mark.exists()


def test_a_users_own_agent_that_writes_this_form_is_found(tmp_path: Path) -> None:
    agent = OwnResumed("MlpPolicy", "CartPole-v1", n_steps=4)
    agent.save(tmp_path / "agent")
    assert type(dreamzoo.load(tmp_path / "agent")) is OwnResumed


@pytest.mark.parametrize("where", ["class", "member"])
def test_errors_hold_nothing_that_a_terminal_obeys(where: str, tmp_path: Path) -> None:
    bad, name = tmp_path / "bad.zip", "evil\x1b[2Jname"
    named = {"agent": f"{name}:X" if where == "class" else "dreamzoo:X", "trusted": {}}
    with bad.open("wb") as file, writing(file, "agent", "moment", named) as writer:
        writer.write_json("data", {})
        if where == "member":
            writer.write(name, b"x")
    if where == "member":
        with zipfile.ZipFile(bad, "a") as archive:  # one that the index does not know
            archive.writestr(f"{name}2", b"x")
    with pytest.raises(ValueError, match="evil") as told:
        dreamzoo.load(bad)
    assert "\x1b" not in str(told.value)
