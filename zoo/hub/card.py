"""The page of a model on the Hugging Face Hub."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dreamzoo.common.environments.normalizer import NORMALIZER
from dreamzoo.common.storage.inspection import describe_own
from dreamzoo.envs.errors import requires_extra

REPLAY, OPEN_LOOP = "replay.mp4", "open_loop.png"


class Card(NamedTuple):
    """
    What a model's page tells.

    :param algorithm: name of the agent's algorithm
    :param env_id: name of the environment
    :param env_kwargs: its arguments
    :param repo_id: of the repository: ``user/name``
    :param file: of the model, in the folder that is uploaded
    :param steps: of its training
    :param returns: of the episodes that were played, (E,)
    :param deterministic: whether the most likely actions were taken
    :param hears: whether the agent was told its rewards
    :param errors: table of the world model's errors by horizon; empty if it has none
    """

    algorithm: str
    env_id: str
    env_kwargs: dict[str, Any]
    repo_id: str
    file: Path
    steps: int
    returns: np.ndarray
    deterministic: bool
    hears: bool = False
    errors: str = ""


def write_card(card: Card) -> None:
    """
    Write ``README.md`` beside a model; pictures and videos that lie there are shown.

    :param card: what it tells
    """
    with requires_extra("hub"):
        from huggingface_hub import EvalResult, ModelCard, ModelCardData

    mean, std = card.returns.mean(), card.returns.std()
    data = ModelCardData(
        library_name="stable-baselines3",
        tags=[
            card.env_id,
            "deep-reinforcement-learning",
            "reinforcement-learning",
            "stable-baselines3",
            "dreamzoo",
        ],
        model_name=card.algorithm,
        eval_results=[
            EvalResult(
                task_type="reinforcement-learning",
                task_name="reinforcement-learning",
                dataset_type=card.env_id,
                dataset_name=card.env_id,
                metric_type="mean_reward",
                metric_name="mean_reward",
                metric_value=f"{mean:.2f} +/- {std:.2f}",
            )
        ],
    )
    sections = [_summary(card, mean, std), _use(card)]
    sections += [_dream(card)] if card.errors else []
    sections += [_file(card)]
    text = f"---\n{data.to_yaml()}\n---\n\n" + "\n".join(sections)
    ModelCard(text).save(card.file.parent / "README.md")


def _summary(card: Card, mean: float, std: float) -> str:
    actions = "the most likely actions" if card.deterministic else "sampled actions"
    film = f"\n{_video(card, REPLAY)}\n" if (card.file.parent / REPLAY).exists() else ""
    return f"""# {card.algorithm} playing {card.env_id}

Return **{mean:.2f} +/- {std:.2f}** (mean and standard deviation of {len(card.returns)} episodes,
{actions}) after {card.steps:,} steps of training with dreamzoo, on
[Stable-Baselines3](https://github.com/DLR-RM/stable-baselines3).
{film}"""


def _use(card: Card) -> str:
    arguments = "".join(f", {key}={value!r}" for key, value in card.env_kwargs.items())
    imported = wrapped = ""
    played = f"model, env, {len(card.returns)}, deterministic={card.deterministic}"
    if card.hears:
        imported = "from dreamzoo.analysis.evaluation import tell_rewards\n"
        played += ", callback=tell_rewards"
    if (card.file.parent / NORMALIZER).exists():
        imported += "from dreamzoo.common.environments.normalizer import as_in_training\n"
        wrapped = "env = as_in_training(env, path)  # observations are normalized\n"
    return f"""## Use

```python
import dreamzoo
{imported}from dreamzoo.envs import make_env
from dreamzoo.hub import load_from_hub
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

path = load_from_hub("{card.repo_id}", "{card.file.name}")
model = dreamzoo.load(path)
env = make_vec_env(lambda: make_env("{card.env_id}"{arguments}))
{wrapped}print(evaluate_policy({played}))
```
"""


def _dream(card: Card) -> str:
    videos = sorted(p.name for p in card.file.parent.glob("*.mp4") if p.name != REPLAY)
    shown = "".join(f"{_video(card, name)}\n\n" for name in videos)
    return f"""## Dream

The model sees the first steps of real episodes and goes on with the agent's actions alone.

{shown}![truth and prediction]({OPEN_LOOP})

Root mean squared errors, in the agent's units, by the number of steps since the last
observation that the model saw, beside those of saying that this observation stays:

{card.errors}
"""


def _file(card: Card) -> str:
    held = describe_own(card.file)
    if not held:
        return """## File

An agent of Stable-Baselines3 is a pickle, which runs code when it is loaded: pass `trusted=True` to
`dreamzoo.load` if you trust its author.
"""
    return f"""## File

Loading it runs no code. It holds:

```
{held}
```
"""


def _video(card: Card, name: str) -> str:
    source = f"https://huggingface.co/{card.repo_id}/resolve/main/{name}"
    return f'<video src="{source}" controls loop muted></video>'
