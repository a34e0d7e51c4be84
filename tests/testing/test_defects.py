"""Every check of the contract notices an agent that breaks the promise."""

from typing import Any, ClassVar

import numpy as np
import pytest
import torch as th
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy

from dreamzoo import DreamerV3, PlaNet
from dreamzoo.testing import CHECKS, BrokenPromise, Case

SMALL: dict[str, Any] = {"policy_kwargs": {"net_arch": [8]}}


class WithoutDefault(PPO):
    def __init__(self, policy: Any, env: Any, n_steps: int, **kwargs: Any) -> None:
        super().__init__(policy, env, n_steps=n_steps, **kwargs)


class Undocumented(PPO):
    """Learns."""


class TakesAnything(PPO):
    def __init__(self, policy: Any, env: Any, no_such_argument: int = 0, **kwargs: Any) -> None:
        super().__init__(policy, env, **kwargs)


class StoresAnother(DreamerV3):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.horizon = 15


class Unchecked(DreamerV3):
    settings: ClassVar[Any] = {k: v for k, v in DreamerV3.settings.items() if k != "gae_lambda"}


class OneNameOnly(PPO):
    def __init__(self, policy: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__("MlpPolicy", *args, **kwargs)


class OutOfSpace(DQN):
    def predict(self, *args: Any, **kwargs: Any) -> Any:
        action, state = super().predict(*args, **kwargs)
        return action + 3, state


class CountsOn(PPO):
    def learn(self, *args: Any, **kwargs: Any) -> Any:
        return super().learn(*args, **{**kwargs, "reset_num_timesteps": self.num_timesteps == 0})


class LearnsNothing(PPO):
    def train(self) -> None:
        self._n_updates += 1


class Unwatched(PPO):
    def learn(self, *args: Any, **kwargs: Any) -> Any:
        return super().learn(*args, **{**kwargs, "callback": None})


class Unstoppable(DQN):
    def collect_rollouts(self, *args: Any, **kwargs: Any) -> Any:
        return super().collect_rollouts(*args, **kwargs)._replace(continue_training=True)


class NamesOfItsOwn(PPO):
    def train(self) -> None:
        super().train()
        rate = self.logger.name_to_value.pop("train/learning_rate")
        self.logger.record("train/step_size", rate)


class Unseeded(PPO):
    def set_random_seed(self, seed: int | None = None) -> None:
        pass


class DrawsWhileActing(DreamerV3):
    """Takes evaluations' noise from the training's source."""

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        th.rand(1, generator=self._generator)
        return super().predict(*args, **kwargs)


class Idles(PPO):
    def learn(self, *args: Any, **kwargs: Any) -> Any:
        return super().learn(*args, **kwargs) if self.env is not None else self


class KeepsTheBatch(PPO):
    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> Any:
        action, state = super().predict(observation, *args, **kwargs)
        return np.reshape(action, (-1, 2)), state


class AlwaysSamples(PPO):
    def predict(self, *args: Any, **kwargs: Any) -> Any:
        return super().predict(*args, **{**kwargs, "deterministic": False})


class WritesToItsState(DreamerV3):
    def predict(self, observation: Any, state: Any = None, *args: Any, **kwargs: Any) -> Any:
        found = super().predict(observation, state, *args, **kwargs)
        for part in state or ():
            part *= 0.5
        return found


class MixesRows(PPO):
    """Normalizes observations by their batch."""

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> Any:
        if np.ndim(observation) == 2:
            observation = observation - observation.mean(0)
        return super().predict(observation, *args, **kwargs)


class Forgetful(DreamerV3):
    def predict(self, observation: Any, state: Any = None, *args: Any, **kwargs: Any) -> Any:
        return super().predict(observation, None, *args, **kwargs)


class NeverBegins(DreamerV3):
    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, *args: Any, **kw: Any
    ) -> Any:
        return super().predict(observation, state, None, *args, **kw)


class BeginsTogether(DreamerV3):
    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, *args: Any, **kw: Any
    ) -> Any:
        if episode_start is not None:
            episode_start = np.full_like(episode_start, np.any(episode_start))
        return super().predict(observation, state, episode_start, *args, **kw)


class RemembersByItself(DreamerV3):
    kept: Any = None

    def predict(self, observation: Any, state: Any = None, *args: Any, **kwargs: Any) -> Any:
        kept = self.kept if np.ndim(observation) == 2 else None
        action, self.kept = super().predict(observation, state or kept, *args, **kwargs)
        return action, self.kept


class DrawsGlobally(PPO):
    def predict(self, *args: Any, **kwargs: Any) -> Any:
        np.random.rand()
        return super().predict(*args, **kwargs)


class TrainsOn(PPO):
    def predict(self, *args: Any, **kwargs: Any) -> Any:
        found = super().predict(*args, **kwargs)
        self.policy.set_training_mode(True)
        return found


class ActsUnlikeItsPolicy(PPO):
    def predict(self, *args: Any, **kwargs: Any) -> Any:
        action, state = super().predict(*args, **kwargs)
        return -action, state


class TakesPairs(PPO):
    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> Any:
        observation = observation[0] if isinstance(observation, tuple) else observation
        return super().predict(observation, *args, **kwargs)


class TakesNaN(DreamerV3):
    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> Any:
        return super().predict(np.nan_to_num(observation), *args, **kwargs)


class CutsStates(DreamerV3):
    def predict(self, observation: Any, state: Any = None, *args: Any, **kwargs: Any) -> Any:
        state = state and tuple(part[: len(observation)] for part in state)
        return super().predict(observation, state, *args, **kwargs)


class DropsAWeight(PPO):
    """Its files hold zeros in place of a layer."""

    def save(self, *args: Any, **kwargs: Any) -> None:
        layer: Any = self.policy.action_net
        kept = layer.weight.detach().clone()
        layer.weight.data.zero_()
        super().save(*args, **kwargs)
        layer.weight.data.copy_(kept)


class DropsACounter(PPO):
    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_n_updates"]


class KeepsItsObjects(PPO):
    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("custom_objects", None)
        return super().load(*args, **kwargs)


class BeginsToCount(PPO):
    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> Any:
        model = super().load(*args, **kwargs)
        model.num_timesteps = 0
        return model


class HidesItsOptimizer(PPO):
    def _get_torch_save_params(self) -> Any:
        return ["policy"], []


class _DrawnAnew(ActorCriticPolicy):
    def save(self, path: Any) -> None:
        layer: Any = self.action_net
        kept = layer.weight.detach().clone()
        th.nn.init.normal_(layer.weight)
        super().save(path)
        layer.weight.data.copy_(kept)


class PolicyAlone(PPO):
    policy_aliases: ClassVar[Any] = {"MlpPolicy": _DrawnAnew}


class _WithFunction(ActorCriticPolicy):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.function = lambda x: x


class NotPickled(PPO):
    policy_aliases: ClassVar[Any] = {"MlpPolicy": _WithFunction}


class StaysAtHome(PPO):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "device": "cpu"})


class DropsMoments(DreamerV3):
    """Begins with an optimizer that has seen nothing."""

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> Any:
        model = super().load(*args, **kwargs)
        model.policy.optimizer.state.clear()
        return model


class DreamsOn(PlaNet):
    def dream_env(self, *args: Any, **kwargs: Any) -> Any:
        return super().dream_env(*args, **{**kwargs, "horizon": 50})


class DrawsWhileDreaming(DreamerV3):
    def dream_env(self, *args: Any, **kwargs: Any) -> Any:
        th.rand(1, generator=self._generator)
        return super().dream_env(*args, **kwargs)


class KeepsOldLatents(DreamerV3):
    def train(self, *args: Any, **kwargs: Any) -> None:
        assert self.replay_buffer is not None
        kept = {name: np.array(x) for name, x in self.replay_buffer.latents.items()}
        super().train(*args, **kwargs)
        for name, x in self.replay_buffer.latents.items():
            x[...] = kept[name]


#: By check: agents that break the promise, and what is said of them.
DEFECTS: dict[str, list[tuple[type[BaseAlgorithm], str]]] = {
    "constructor_speaks_sb3": [(WithoutDefault, "no arguments .*'device'")],
    "arguments_are_documented": [(Undocumented, "no ':param' of .*'gamma'")],
    "unknown_arguments_are_refused": [(TakesAnything, "was not refused")],
    "arguments_are_stored": [(StoresAnother, r"agent.horizon=15 after horizon=2")],
    "nan_and_text_are_refused": [(Unchecked, "gae_lambda=nan.* was not refused")],
    "policies_have_names": [(OneNameOnly, "Expected: the class that was passed")],
    "dicts_are_learned_from": [(OutOfSpace, "is no member of Discrete")],
    "actions_are_of_their_space": [(OutOfSpace, "is no member of Discrete")],
    "learning_counts_steps": [(CountsOn, "num_timesteps=96 .* Expected: 32")],
    "learning_changes_networks": [(LearnsNothing, "unchanged parameters")],
    "callbacks_see_every_step": [(Unwatched, "0 calls of on_step in 32 steps")],
    "callbacks_stop_training": [(Unstoppable, "Expected: 3, where it said False")],
    "logs_have_sb3s_keys": [(NamesOfItsOwn, "no keys .'train/learning_rate'")],
    "a_seed_fixes_the_training": [(Unseeded, "of two trainings with one seed, .* differs")],
    "evaluating_leaves_training_unchanged": [(DrawsWhileActing, "after evaluations .* differs")],
    "rewards_of_nan_are_refused": [(DQN, "a reward of NaN was not refused")],
    "predict_takes_one_and_many": [(KeepsTheBatch, r"an action of shape \(1, 2\)")],
    "deterministic_is_deterministic": [
        (AlwaysSamples, "on the second call .* differs"),
        (WritesToItsState, "the state that was passed has changed"),
    ],
    "rows_do_not_mix": [(MixesRows, "environment 0 in a batch of 3 and alone")],
    "memory_is_carried": [(Forgetful, "the same state with a memory and without")],
    "episode_starts_forget": [
        (NeverBegins, "at the start of all episodes .* differs"),
        (BeginsTogether, "environment 0, where environment 1 alone begins"),
    ],
    "no_state_begins_episodes": [(RemembersByItself, "with episode_start=.* differs")],
    "predict_leaves_randomness_alone": [(DrawsGlobally, "a changed state of torch's, numpy's")],
    "predict_ends_training_mode": [(TrainsOn, "policy.training=True")],
    "evaluation_counts_episodes": [(ActsUnlikeItsPolicy, "of the agent and of its policy")],
    "observations_of_wrong_shapes_are_refused": [(TakesPairs, "was not refused")],
    "observations_of_nan_are_refused": [(TakesNaN, "was not refused")],
    "states_of_other_environments_are_refused": [(CutsStates, "was not refused")],
    "a_loaded_agent_is_the_same": [
        (DropsAWeight, r"'action_net.weight'\] differs"),
        (DropsACounter, r"'_n_updates'\] differs, \d+ and 0"),
    ],
    "custom_objects_replace_what_was_saved": [(KeepsItsObjects, "Expected: 2e-5 for both")],
    "a_loaded_agent_learns_on": [(BeginsToCount, "num_timesteps=32 after 24 and 32 steps")],
    "without_an_environment_learning_is_refused": [(Idles, "was not refused")],
    "parameters_fit_another_agent": [(HidesItsOptimizer, "Expected: policy and an optimizer")],
    "a_policy_is_saved_alone": [(PolicyAlone, "of the saved and the loaded policy .* differs")],
    "policies_pickle": [(NotPickled, "pickle.* Expected: no error")],
    "devices_are_changed": [(StaysAtHome, r"parameters on \['cpu'\]. Expected: cuda")],
    "resuming_is_exact": [(DropsMoments, "of the whole and the interrupted training")],
    "dreams_are_environments": [(DreamsOn, "Expected: an end of every dream")],
    "dreaming_leaves_training_unchanged": [(DrawsWhileDreaming, "after dreams .* differs")],
    "latents_in_the_replay_are_renewed": [(KeepsOldLatents, "the same latents")],
}


def test_every_check_is_put_to_a_defect() -> None:
    assert list(DEFECTS) == list(CHECKS)


def small(agent: type[BaseAlgorithm]) -> Case:
    return Case(agent, **({} if hasattr(agent, "smallest") else SMALL))


@pytest.mark.parametrize(
    ("check", "agent", "message"),
    [(check, *defect) for check, defects in DEFECTS.items() for defect in defects],
)
def test_defects_are_noticed(check: str, agent: type[BaseAlgorithm], message: str) -> None:
    case = small(agent)
    if check == "devices_are_changed":  # where there is none, SB3 takes the CPU
        case = Case(agent, second_device="cuda", **SMALL)
    with pytest.raises(BrokenPromise, match=f"(?s){agent.__name__} breaks a promise.*{message}"):
        CHECKS[check](case)
