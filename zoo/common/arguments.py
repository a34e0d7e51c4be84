"""The arguments that all agents share, and what a constructor that passes some on can be given."""

import difflib
import inspect
from collections.abc import Iterable
from typing import Any, get_args

import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from typing_extensions import TypedDict

from dreamzoo.nn.fast.precision import PrecisionName


class Plumbing(TypedDict, total=False):
    """
    What every agent takes beside the settings of its paper, mostly SB3's own words.

    An agent takes them as ``**plumbing: Unpack[Plumbing]``, or ``Unpack[ReplayPlumbing]``, and
    passes them on; its signature and its documentation show each of them.

    :param cuda_graph: on CUDA repeat steps of acting and of dreams, and updates of agents with a
        replay, as recorded graphs, with the same numbers; False runs them step by step
    :param policy_kwargs: of the policy, see the agent's policy class
    :param stats_window_size: episodes over which returns are averaged in the log
    :param tensorboard_log: folder of TensorBoard logs
    :param verbose: 0 silent, 1 info, 2 debug
    :param seed: of everything random
    :param device: ``auto``, ``cpu``, ``cuda``, ...
    :param precision: of the numbers that matrix products and convolutions multiply, while updating,
        acting, planning and dreaming: ``fp32``, ``tf32`` or ``bf16``. Weights, sums, norms, losses
        and whatever is drawn stay float32. ``auto`` is ``fp32`` on a CPU, ``bf16`` on a GPU that
        has it, with which DreamerV3 has learned what it learns without. On a CPU ``bf16`` needs a
        processor with such instructions, and ``tf32`` is ``fp32``. The switches of torch itself
        are left as they are found
    :param _init_setup_model: build the networks now; ``load`` does so later
    """

    cuda_graph: bool
    policy_kwargs: dict[str, Any] | None
    stats_window_size: int
    tensorboard_log: str | None
    verbose: int
    seed: int | None
    device: th.device | str
    precision: PrecisionName
    _init_setup_model: bool


#: Of all of them, in the order in which signatures show them.
DEFAULTS: Plumbing = {
    "cuda_graph": True,
    "policy_kwargs": None,
    "stats_window_size": 100,
    "tensorboard_log": None,
    "verbose": 0,
    "seed": None,
    "device": "auto",
    "precision": "auto",
    "_init_setup_model": True,
}


class ReplayPlumbing(Plumbing, total=False):
    """
    What every agent takes that learns from a replay.

    :param train_freq: steps of the VecEnv between two rounds of updates
    :param gradient_steps: updates in a round; None follows the agent's own schedule, such as
        ``train_ratio``, -1 makes one for every step collected, as in SB3
    :param action_noise: added to Box actions while collecting; the papers use none of it
    :param replay_buffer_class: a :class:`SequenceReplayBuffer` or None
    :param replay_buffer_kwargs: of that class
    :param optimize_memory_usage: accepted as in SB3; the replay stores observations once anyhow
    """

    train_freq: int | tuple[int, str]
    gradient_steps: int | None
    action_noise: ActionNoise | None
    replay_buffer_class: type[ReplayBuffer] | None
    replay_buffer_kwargs: dict[str, Any] | None
    optimize_memory_usage: bool


#: Of all of them, in the order in which signatures show them.
REPLAY_DEFAULTS: ReplayPlumbing = {
    "train_freq": 1,
    "gradient_steps": None,
    "action_noise": None,
    "replay_buffer_class": None,
    "replay_buffer_kwargs": None,
    "optimize_memory_usage": False,
    **DEFAULTS,
}


class PolicyPlumbing(TypedDict, total=False):
    """
    What every agent's policy takes beside the networks of its paper, in SB3's words.

    :param images: read images of bytes and boards of booleans with a CNN; False flattens them
    :param features_extractor_class: an encoder of the user's own, SB3's interface; None: the
        paper's encoder
    :param features_extractor_kwargs: of that class, or what the paper's encoder knows of them
    :param normalize_images: images are bytes, to be divided by 255, or booleans; False: so is what
        else has three axes and bounds, from which it is scaled
    """

    images: bool
    features_extractor_class: type[BaseFeaturesExtractor] | None
    features_extractor_kwargs: dict[str, Any] | None
    normalize_images: bool


#: Of all of them, in the order in which signatures show them.
POLICY_DEFAULTS: PolicyPlumbing = {
    "images": True,
    "features_extractor_class": None,
    "features_extractor_kwargs": None,
    "normalize_images": True,
}

_SHARED: list[tuple[Any, Any]] = [
    (ReplayPlumbing, REPLAY_DEFAULTS),
    (Plumbing, DEFAULTS),
    (PolicyPlumbing, POLICY_DEFAULTS),
]


def constructor(kind: type) -> inspect.Signature:
    """
    Return what a class can be constructed with, by whatever constructor of its bases takes it.

    Where a constructor passes ``**kwargs`` on, the arguments of the next one in line follow its
    own, as keywords unless ``*args`` are passed on, too; what can only be given by name comes last.

    :param kind: the class
    """
    first: list[inspect.Parameter] = []
    last: list[inspect.Parameter] = []
    known: set[str] = set()
    by_place = True
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        _, *parameters = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc]
        kinds = {parameter.kind: parameter for parameter in parameters}
        rest = kinds.get(inspect.Parameter.VAR_KEYWORD)
        shared = [] if rest is None else _shared(rest.annotation)
        named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        new = [p for p in named if p.name not in known]
        known |= {p.name for p in new}
        if not by_place:
            new = [p.replace(kind=p.KEYWORD_ONLY) for p in new]
            first += new
        else:
            first += [p for p in new if p.kind is not p.KEYWORD_ONLY]
            last = [p for p in new if p.kind is p.KEYWORD_ONLY] + last
        first += [p for p in shared if p.name not in known]
        if rest is None or shared:
            break
        by_place = by_place and inspect.Parameter.VAR_POSITIONAL in kinds
    # Unchecked: a subclass may have put an argument with a default before others.
    return inspect.Signature([*first, *last], __validate_parameters__=False)


def _shared(annotation: Any) -> list[inspect.Parameter]:
    """List shared arguments that a constructor takes as ``**plumbing``, by its annotation."""
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=shared.__annotations__[name],
        )
        for shared, defaults in _SHARED
        if shared in get_args(annotation)
        for name, default in defaults.items()
    ]


def documented(doc: str | None, names: Iterable[str]) -> str | None:
    """
    Complete a class's documentation with that of shared arguments.

    :param doc: of the class; one that documents no argument is left as it is
    :param names: of the arguments that the class takes
    """
    taken = set(names)
    for shared, defaults in _SHARED:
        if doc is None or ":param " not in doc or not defaults.keys() <= taken:
            continue
        doc = inspect.cleandoc(doc)
        for entry in inspect.cleandoc(shared.__doc__ or "").split("\n:param ")[1:]:
            if f":param {entry.partition(':')[0]}:" not in doc:
                doc += f"\n:param {entry}"
    return doc


def refuse_unknown(
    call: str, given: Iterable[str], taken: Iterable[str], known: Iterable[str], outcome: str
) -> None:
    """
    Refuse names of arguments that do not exist.

    :param call: what was called
    :param given: names that were given
    :param taken: names that may be among them
    :param known: names that the caller can choose from
    :param outcome: what has not happened
    :raises TypeError: names them, and those near to them that exist; all, where none is near
    """
    unknown, names = sorted(set(given) - set(taken)), sorted(known)
    if unknown:
        near = [match for name in unknown for match in difflib.get_close_matches(name, names, 1)]
        nearest = f"the nearest {'name is' if len(near) == 1 else 'names are'} {', '.join(near)}"
        raise TypeError(
            f"{call} got {', '.join(unknown)}, which no setting is called; "
            f"{nearest if near else 'there are ' + ', '.join(names)}. {outcome}."
        )
