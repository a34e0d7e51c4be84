"""Files of policies alone, replays of SB3, and files of another agent: no code runs unasked."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.policies import BaseModel

from dreamzoo import AGENTS, RLLSTM, RLMEM, DiscreteSAC, DreamerV3
from dreamzoo.common.exact_resume import ExactResume
from tests.resuming import assert_equal
from tests.rewriting import members, payloads, rewrite


class ResumableSAC(ExactResume, SAC):
    """A user's own agent, whose replay SB3 writes."""


class OwnRLMEM(RLMEM):
    """A user's own agent, derived from one of dreamzoo."""


def _policy(name: str) -> Any:
    kind: Any = AGENTS[name]
    env = "Pendulum-v1" if name == "planet" else "CartPole-v1"
    return kind("MlpPolicy", env, **kind.smallest).policy


@pytest.mark.parametrize("name", AGENTS)
def test_policies_of_all_agents_come_back_without_trust(name: str, tmp_path: Path) -> None:
    policy = _policy(name)
    policy.save(tmp_path / "policy")
    loaded = type(policy).load(tmp_path / "policy", device="cpu")
    assert type(loaded) is type(policy)
    assert_equal(policy.state_dict(), loaded.state_dict())
    stream = io.BytesIO()
    policy.save(stream)
    assert_equal(policy.state_dict(), type(policy).load(stream).state_dict())


@pytest.mark.parametrize("name", ["dreamer_v3", "discrete_sac"])
def test_no_member_of_a_policys_file_runs_code(name: str, tmp_path: Path) -> None:
    policy, mark = _policy(name), tmp_path / "ran"
    whole, bad = tmp_path / "policy.zip", tmp_path / "bad.zip"
    policy.save(whole)
    for payload in payloads(mark):
        for member in [*members(whole), "trusted/images.pkl"]:
            if member != "dreamzoo.json":
                about = {"trusted": {"images": "bool"}} if "/" in member else None
                rewrite(whole, bad, {member: payload}, about)
                with pytest.raises(ValueError, match=r"bad\.zip"):
                    type(policy).load(bad)
        bad.write_bytes(payload)
        with pytest.raises(ValueError, match=r"bad\.zip"):
            type(policy).load(bad)
    assert not mark.exists()


def test_policies_of_earlier_files_are_read_if_they_are_trusted(tmp_path: Path) -> None:
    policy = _policy("dreamer_v3")
    BaseModel.save(policy, str(tmp_path / "old"))
    with pytest.raises(ValueError, match=r"old is not of a form .* with trusted=True"):
        type(policy).load(tmp_path / "old")
    loaded = type(policy).load(tmp_path / "old", trusted=True)
    assert_equal(policy.state_dict(), loaded.state_dict())


def test_what_only_code_can_say_of_a_policy_needs_trust(tmp_path: Path) -> None:
    actor = _policy("discrete_sac").actor  # with an extractor that its policy has built
    actor.save(tmp_path / "actor")
    with pytest.raises(ValueError, match=r"actor holds features_extractor as code"):
        type(actor).load(tmp_path / "actor")
    loaded = type(actor).load(tmp_path / "actor", trusted=True)
    assert_equal(actor.state_dict(), loaded.state_dict())


def test_a_policy_with_other_networks_is_refused(tmp_path: Path) -> None:
    policy = _policy("dreamer_v3")
    policy.save(tmp_path / "policy.zip")
    state, file = policy.state_dict(), io.BytesIO()
    name = next(name for name, x in state.items() if x.dim() == 2)
    th.save({**state, name: th.ones(3)}, file)
    bad = rewrite(tmp_path / "policy.zip", tmp_path / "bad.zip", {"state.pth": file.getvalue()})
    with pytest.raises(ValueError, match=r"bad\.zip cannot be read.*size mismatch"):
        type(policy).load(bad)
    with pytest.raises(ValueError, match=r"policy\.zip holds a policy, not an agent"):
        DreamerV3.load(tmp_path / "policy.zip")


@pytest.mark.parametrize(
    ("kind", "env"), [(ResumableSAC, "Pendulum-v1"), (DiscreteSAC, "CartPole-v1")]
)
def test_replays_that_sb3_writes_run_no_code_unless_they_are_trusted(
    kind: Any, env: str, tmp_path: Path
) -> None:
    agent = kind("MlpPolicy", env, buffer_size=50, learning_starts=100).learn(20)
    mark, bad = tmp_path / "ran", tmp_path / "bad.pkl"
    bad.write_bytes(payloads(mark)[0])
    before = agent.replay_buffer
    with pytest.raises(ValueError, match=r"bad\.pkl is a replay of SB3.*with trusted=True"):
        agent.load_replay_buffer(bad)
    assert not mark.exists()
    assert agent.replay_buffer is before
    agent.save_replay_buffer(tmp_path / "replay")
    agent.load_replay_buffer(tmp_path / "replay", trusted=True)
    assert agent.replay_buffer is not before
    assert agent.replay_buffer.size() == before.size() == 20


def test_agents_without_a_replay_load_none() -> None:
    """The commands ask for the method, to say that there is nothing to load."""
    assert not hasattr(RLLSTM, "load_replay_buffer")


def test_a_file_of_another_agent_is_refused_with_both_names(tmp_path: Path) -> None:
    for saved, others in [(RLLSTM, (RLMEM, DreamerV3, DiscreteSAC)), (RLMEM, (RLLSTM, DreamerV3))]:
        small: Any = saved.smallest
        saved("MlpPolicy", "CartPole-v1", **small).save(tmp_path / "agent")
        for other in others:
            said = rf"agent holds a {saved.__name__}, not a {other.__name__}.*dreamzoo\.load"
            with pytest.raises(ValueError, match=said):
                other.load(tmp_path / "agent")
    assert type(OwnRLMEM.load(tmp_path / "agent")) is OwnRLMEM
