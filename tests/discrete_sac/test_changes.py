"""What cannot be is refused by name, and what can be changed is followed."""

from pathlib import Path
from typing import Any

import pytest

from dreamzoo import DiscreteSAC


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(target_entropy=-1), r"got target_entropy.*nearest name is target_entropy_scale"),
        (dict(policy_kwargs=dict(net_arc=[8])), r"got net_arc.*nearest name is net_arch"),
        (dict(policy_kwargs=dict(net_arch=[-8])), r"net_arch=\[-8\] must be a list of widths"),
        (dict(policy_kwargs=dict(net_arch=[8.5])), r"net_arch=\[8.5\] must be a list of widths"),
        (dict(policy_kwargs=dict(net_arch="big")), r"net_arch='big' must be a list of widths"),
        (dict(policy_kwargs=dict(net_arch=dict(pi=[8], vf=[8]))), r"pi, .*, and qf, of the critic"),
        (dict(policy_kwargs=dict(n_critics=0)), r"n_critics=0 must be at least 1"),
        (dict(policy_kwargs=dict(activation_fn="relu")), r"activation_fn='relu' must be a class"),
        (dict(policy_kwargs=dict(optimizer_class="adam")), r"optimizer_class='adam' must be a cla"),
        (
            dict(policy="MultiInputPolicy"),
            r"MultiInputPolicy reads a Dict of obs.*, not Box",
        ),
        (dict(env=None), r"DiscreteSAC needs an environment"),
    ],
)
def test_what_cannot_be_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        DiscreteSAC(**{"policy": "MlpPolicy", "env": "CartPole-v1", **given})


def test_there_must_be_something_to_learn_from() -> None:
    with pytest.raises(ValueError, match="The replay buffer is empty"):
        DiscreteSAC("MlpPolicy", "CartPole-v1", **DiscreteSAC.smallest).train(1)


@pytest.mark.parametrize("saved", ["auto", 0.01])
@pytest.mark.parametrize(("given", "weight"), [("auto", 1.0), ("auto_0.3", 0.3), (0.5, 0.5)])
def test_the_weight_of_the_entropy_can_be_changed(
    saved: str | float, given: str | float, weight: float, tmp_path: Path
) -> None:
    agent = DiscreteSAC("MlpPolicy", "CartPole-v1", ent_coef=saved, seed=0, **DiscreteSAC.smallest)
    agent.learn(20).save(tmp_path / "agent")
    before = agent._ent_coef().item()
    loaded = DiscreteSAC.load(tmp_path / "agent", env=agent.get_env(), ent_coef=given)
    expected = before if given == saved else weight
    assert loaded._ent_coef().item() == pytest.approx(expected)
    agent.ent_coef = given
    agent.save(tmp_path / "changed")  # before it has gone on
    loaded = DiscreteSAC.load(tmp_path / "changed", env=agent.get_env())
    assert loaded._ent_coef().item() == pytest.approx(expected)
    assert (loaded.ent_coef_optimizer is None) == isinstance(given, float)
    loaded.learn(10, reset_num_timesteps=False)
    assert (loaded._ent_coef().item() == expected) == isinstance(given, float)


def test_a_setting_that_makes_no_sense_is_not_the_files_fault(tmp_path: Path) -> None:
    DiscreteSAC("MlpPolicy", "CartPole-v1", **DiscreteSAC.smallest).save(tmp_path / "agent")
    with pytest.raises(ValueError, match=r"^DiscreteSAC.load\(\): temperature=-1 must be"):
        DiscreteSAC.load(tmp_path / "agent", temperature=-1)


def test_a_training_without_its_replay_is_told(tmp_path: Path) -> None:
    agent = DiscreteSAC("MlpPolicy", "CartPole-v1", seed=0, **DiscreteSAC.smallest).learn(20)
    agent.save(tmp_path / "agent")
    agent.save_training_state(tmp_path / "state")
    loaded = DiscreteSAC.load(tmp_path / "agent", env=agent.get_env())
    with pytest.warns(UserWarning, match="does not hold the replay, and the agent's is empty"):
        loaded.load_training_state(tmp_path / "state", trusted=True)
