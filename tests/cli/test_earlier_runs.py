"""
A run that dreamzoo 0.1 has saved goes on as it would have gone on then.

``earlier_run.zip`` was made at commit 828dad2, the last one before files had the form of now, with
the arguments below until step 60. ``expected.json`` in it says what that commit had learned at step
76 when it resumed: the sum of the absolute values of every parameter.
"""

import json
import warnings
import zipfile
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from dreamzoo import DreamerV3
from dreamzoo.analysis.playing import predict_play
from dreamzoo.benchmark.run_config import is_saved
from dreamzoo.cli import main
from dreamzoo.common.storage.saves import newest

ARGUMENTS = [
    *("--env", "CartPole-v1", "--n-envs", "2", "--seed", "0", "--device", "cpu"),
    *("--save-every", "30", "--eval-every", "40", "--eval-episodes", "1"),
    *("-p", "size=debug", "-a", "buffer_size=200", "batch_size=2", "batch_length=4"),
    *("learning_starts=16", "train_ratio=4"),
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with zipfile.ZipFile(Path(__file__).parent / "earlier_run.zip") as archive:
        archive.extractall(tmp_path / "run")
    return tmp_path / "run"


def test_an_earlier_run_goes_on_exactly_where_it_stood(run: Path) -> None:
    """Whoever resumes a run trusts its folder; the files are of the form of now from then on."""
    expected = json.loads((run / "expected.json").read_text())
    assert is_saved(run)  # for dreamzoo benchmark run, which resumes by the same command
    main(["train", "--resume", "--steps", "76", *ARGUMENTS, "--out", str(run)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent = DreamerV3.load(run)
    assert newest(run) != run
    assert (agent.num_timesteps, agent._n_updates) == (76, expected.pop("updates"))
    found = {name: float(x.abs().sum()) for name, x in agent.policy.state_dict().items()}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name
    assert np.load(run / "evaluations.npz")["timesteps"].tolist() == [40]


def test_an_earlier_run_runs_no_code_unless_it_is_trusted(run: Path) -> None:
    for load in (DreamerV3.load, lambda path: _agent().load_replay_buffer(path / "replay_buffer")):
        with pytest.raises(ValueError, match=r"of dreamzoo 0\.1, .* with trusted=True"):
            load(run)
    with pytest.raises(SystemExit, match=r"of dreamzoo 0\.1, .* with --trusted, and save it anew"):
        main(["evaluate", "--model", str(run)])
    agent = DreamerV3.load(run, trusted=True)
    assert agent.num_timesteps == 60
    agent.load_replay_buffer(run / "replay_buffer", trusted=True)
    assert agent.replay_buffer is not None
    assert agent.replay_buffer._count.tolist() == [31, 31]  # the first observations, too


def test_an_earlier_model_has_a_report_if_it_is_trusted(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page cannot say what such a file holds, but all else."""
    few_plays = partial(predict_play, compared=4)
    module = import_module("dreamzoo.analysis.model_report")  # a function has its name, too
    monkeypatch.setattr(module, "predict_play", few_plays)
    page = run / "report.html"
    few = ["--episodes", "1", "--horizon", "3", "--out", str(page)]
    main(["report", str(run / "model.zip"), "--env", "CartPole-v1", "--trusted", *few])
    assert "Reality and dream" in page.read_text()


def _agent() -> DreamerV3:
    small = dict(policy_kwargs=dict(size="debug"))
    return DreamerV3("MlpPolicy", "CartPole-v1", **small)  # type: ignore[arg-type]
