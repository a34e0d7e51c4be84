"""Taking an agent elsewhere: one step of acting as an ONNX graph."""

import pathlib
import warnings

import numpy as np
import torch as th
from torch import Tensor, nn

from dreamzoo.common.policies.memory_layout import rows_of
from dreamzoo.common.policies.recurrent import RecurrentPolicy
from dreamzoo.common.storage.files import replaced_file
from dreamzoo.envs.errors import requires_extra
from dreamzoo.nn.observations import SINGLE
from dreamzoo.nn.state import leaves


class ActingStep(nn.Module):
    """
    One deterministic step of acting, from tensors to tensors.

    It takes observations (one for every key of a Dict, by name), the memory as ``predict`` returns
    it, and ``is_first``; it returns actions of the environment and the new memory.

    :param policy: acts
    """

    def __init__(self, policy: RecurrentPolicy) -> None:
        super().__init__()
        self.policy = policy
        codec = policy.observation_codec
        names = [f"{SINGLE}.{key.name}" if codec.is_dict else SINGLE for key in codec.keys]
        memory = policy.memory.names
        self.inputs = [*names, *memory, "is_first"]
        self.outputs = ["action", *(f"next_{name}" for name in memory)]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        codec = self.policy.observation_codec
        observations, memory = tensors[: len(codec.keys)], tensors[len(codec.keys) : -1]
        parts = dict(zip((key.name for key in codec.keys), observations, strict=True))
        action, new = self.policy.act(
            parts if codec.is_dict else parts[SINGLE],
            self.policy.memory.unpack(memory),
            tensors[-1],
            deterministic=True,
        )
        actions = self.policy.action_codec.to_env(action)
        return actions, *map(rows_of, leaves(new))

    def example(self) -> tuple[Tensor, ...]:
        """Return inputs of two environments that begin an episode."""
        device, memory = self.policy.device, self.policy.initial_state(2)
        spaces = [key.space for key in self.policy.observation_codec.keys]
        zeros = [np.zeros((2, *(space.shape or ())), space.dtype) for space in spaces]
        # Parts that begin as one and the same tensor would be taken for one input.
        flat = [rows_of(part).clone() for part in leaves(memory)]
        is_first = th.ones(2, dtype=th.bool, device=device)
        return *(th.as_tensor(x, device=device) for x in zeros), *flat, is_first


def export_onnx(policy: RecurrentPolicy, path: str | pathlib.Path) -> None:
    """
    Write how a policy acts, deterministically, as an ONNX graph.

    All inputs and outputs have any number n of rows. Inputs:

    - ``observation`` (n, ...), of a Dict ``observation.<key>`` for every key, in shape and dtype of
      the policy's ``observation_space``: images are bytes, channels first
    - the memory by the names of its parts, flat: of the agents with a recurrent state-space model
      ``deter`` (n, D), ``stoch`` (n, S * C), ``prev_action`` (n, A), float32
    - ``is_first`` (n,), bool: rows that begin an episode; their memory, say zeros, does not count

    Outputs: ``action`` (n, ...), in the environment's units and dtype, and the memory for the next
    call, each name after ``next_``. All is as ``predict`` has it with ``deterministic=True``, up to
    rounding.

    :param policy: acts
    :param path: one file that holds everything, replaced if it exists; ``.onnx`` is added to a
        name without a suffix
    :raises ImportError: without the extra ``export``
    :raises NotImplementedError: for a policy that plans
    """
    with requires_extra("export"):
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    step, batch, training = ActingStep(policy), th.export.Dim("batch"), policy.training
    example = step.example()
    try:
        with th.no_grad(), warnings.catch_warnings():
            # Of torch about itself, about names of axes, and about axes that are all one.
            warnings.filterwarnings("ignore", module=r"torch|copyreg")
            shapes = {"tensors": tuple({0: batch} for _ in example)}
            recorded = th.export.export(step.eval(), example, dynamic_shapes=shapes)
            graph = th.onnx.export(
                recorded,
                dynamo=True,
                input_names=step.inputs,
                output_names=step.outputs,
                dynamic_shapes=shapes,
                verbose=False,
            )
    finally:
        policy.set_training_mode(training)
    assert graph is not None
    with replaced_file(path, "onnx") as file:
        file.write(graph.model_proto.SerializeToString())
