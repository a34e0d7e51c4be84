r"""
Measure what one update of an agent costs, and one step of acting.

    dreamzoo bench update --size 1m --obs vector --threads 1
    dreamzoo bench update --size 12m --obs image --threads 2 --breakdown
    dreamzoo bench update --size 1m --act 1 16
    dreamzoo bench update --agent dreamer_v2 --obs image --threads 1
    dreamzoo bench update --agent dreamer_v2 --obs image --task atari --act 1
    dreamzoo bench update --size 12m --obs image --device cuda --launches --round 8 \
        --precision bf16 tf32 fp32 --graph on on off
    dreamzoo bench update --size 12m --obs image --device cuda --learn 40

Data are synthetic, of the shapes of dm_control's walker-walk: 24 numbers or 64x64x3 pixels, six
continuous actions; with ``--task atari`` 18 discrete actions and 64x64x1 pixels. Agents have their
published settings for such a task, or their defaults, but for ``--batch``, ``--length`` and
``--horizon``; ``--size`` is DreamerV3's. ``--precision``, ``--graph`` (the update as a CUDA graph)
and ``--triton`` take one value, or one for each of several measurements; precision is that of the
factors of matrix products and convolutions, see the agents'. One JSON line per measurement:

- ``cpu_seconds, wall_seconds``: median of an update after warm-up, batch sampling and write-back
  included, ``--round`` updates in a row; on CUDA ``wall_seconds`` is between device events
- ``gflop``: arithmetic of its matrix products and convolutions, counted, not estimated
- ``peak_gflops``: rate of a large matrix product, measured in the same run on the same threads
- ``fraction_of_limit``: ``gflop / peak_gflops / wall_seconds``; on CUDA that of memory, if larger:
  what an update holds, read once and written once at the rate of a copy
- ``parameters, peak_rss_mb, warmup_seconds`` (of the first update, compilation included), on CUDA
  ``peak_gpu_mb``
- with ``--launches``: kernels of an update and the seconds in which one ran, by the profiler, and
  the seconds that as many of the smallest kernels take in a CUDA graph
- with ``--breakdown``: wall seconds by part
- with ``--act N ...``: milliseconds of one ``predict`` for N environments
- with ``--learn N``: the share of time in which the GPU computes in N updates of ``learn()`` with
  ``--n-envs`` environments at the default train ratio
"""

import argparse
import json
import traceback
from collections.abc import Iterator
from typing import Any

import torch as th
from stable_baselines3.common.utils import get_device

from dreamzoo.benchmark.cases import wait_for_turn
from dreamzoo.benchmark.speed.acting import time_acting, watch_learning
from dreamzoo.benchmark.speed.updates import count, measure, release_memory
from dreamzoo.benchmark.speed.work import MODEL_AGENTS, TASKS, Mode, Work, make_model
from dreamzoo.benchmark.synthetic import ACTIONS, OBSERVATIONS
from dreamzoo.cli.arguments import add_threads, device_here, make_parser, whole
from dreamzoo.common.arguments import constructor
from dreamzoo.dreamer_v3 import get_size
from dreamzoo.nn.fast import kernels
from dreamzoo.nn.fast.precision import NAMES, resolve


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser("bench update", __doc__)
    switch = ("on", "off")
    parser.add_argument("--agent", choices=MODEL_AGENTS, default="dreamer_v3")
    parser.add_argument("--task", choices=TASKS, default="control", help="its actions, settings")
    parser.add_argument("--size", help="of DreamerV3's model; default: 1m")
    parser.add_argument("--obs", choices=OBSERVATIONS, default="vector")
    add_threads(parser)
    parser.add_argument("--precision", choices=NAMES, nargs="+", default=["fp32"])
    parser.add_argument("--graph", choices=switch, nargs="+", default=["on"])
    parser.add_argument("--triton", choices=switch, nargs="+", default=["on"])
    parser.add_argument("--batch", type=whole(1), help="sequences; default: the published setting")
    parser.add_argument("--length", type=whole(1), help="their steps; the same")
    parser.add_argument("--horizon", type=whole(1), help="imagined steps; the same")
    parser.add_argument("--device", type=device_here, default="cpu")
    parser.add_argument("--repeat", type=whole(1), default=10)
    parser.add_argument("--round", type=whole(1), default=1, help="updates in a row")
    parser.add_argument("--breakdown", action="store_true")
    parser.add_argument("--launches", action="store_true")
    parser.add_argument(
        "--act", type=whole(1), nargs="+", metavar="N", help="environments; no update"
    )
    parser.add_argument("--learn", type=whole(1), metavar="N", help="updates of learn() only")
    parser.add_argument("--hold", action="store_true", help="wait for a line of input to begin")
    parser.add_argument("--n-envs", type=whole(1), default=1, help="environments of --learn")
    args = parser.parse_args(argv)
    check_agent(parser, args)
    try:
        device = get_device(args.device)
        if args.size:
            get_size(args.size)
        args.precision = [resolve(precision, device) for precision in args.precision]
    except (ValueError, RuntimeError) as error:
        parser.error(str(error))
    modes = max(len(values) for values in (args.precision, args.graph, args.triton))
    for name in ("precision", "graph", "triton"):
        values = getattr(args, name)
        if len(values) not in (1, modes):
            parser.error(f"--{name}: one value, or one for each of {modes} measurements")
        setattr(args, name, values * (modes // len(values)))
    return args


def check_agent(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse what the agent does not have, and choose the size of one that has sizes."""
    agent = MODEL_AGENTS[args.agent]
    if args.size and args.agent != "dreamer_v3":
        parser.error(f"--size: {agent.__name__} has none")
    if args.horizon and "horizon" not in constructor(agent).parameters:
        parser.error(f"--horizon: an update of {agent.__name__} imagines nothing")
    if not isinstance(ACTIONS[args.task], agent.action_spaces):
        parser.error(f"--task {args.task}: {agent.__name__} has no discrete actions")
    if args.agent == "dreamer_v3":
        args.size = args.size or "1m"


def work_of(args: argparse.Namespace) -> Work:
    """Get what the command line asks to compute."""
    shape = args.batch, args.length, args.horizon
    return Work(args.agent, args.obs, args.task, args.size, *shape, args.device)


def act(args: argparse.Namespace, mode: Mode) -> Iterator[dict[str, Any]]:
    """Time acting for every number of environments."""
    model = make_model(work_of(args), mode)
    for n in args.act:
        yield {"n_envs": n, "milliseconds": round(time_acting(model, n), 3)}


def lines_of(
    args: argparse.Namespace, mode: Mode, counted: tuple[float, float] | None
) -> Iterator[dict[str, Any]]:
    """Measure what was asked for in one mode."""
    if args.act:
        yield from act(args, mode)
    elif args.learn:
        yield watch_learning(work_of(args), mode, args.learn, args.n_envs)
    else:
        assert counted is not None
        yield measure(
            work_of(args),
            mode,
            counted,
            repeat=args.repeat,
            updates=args.round,
            launches=args.launches,
            breakdown=args.breakdown,
        )


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    th.set_num_threads(args.threads)
    device = get_device(args.device)
    if args.hold:
        wait_for_turn()
    failed = False
    counted = None if args.act or args.learn else count(work_of(args))
    for precision, graph, triton in zip(args.precision, args.graph, args.triton, strict=True):
        mode = Mode(precision, graph == "on", triton == "on")
        release_memory()
        try:
            for line in lines_of(args, mode, counted):
                print(json.dumps(describe(args, mode, device) | line), flush=True)
        except Exception as error:  # what fails in one mode may run in another
            failed = True
            print(json.dumps(describe(args, mode, device) | {"error": repr(error)}), flush=True)
            traceback.print_exc()
    if failed:
        raise SystemExit(1)


def describe(args: argparse.Namespace, mode: Mode, device: th.device) -> dict[str, Any]:
    """Describe what a line is about."""
    example = th.zeros(1, device=device)
    return {
        "agent": args.agent,
        "task": args.task,
        "size": args.size,
        "obs": args.obs,
        "threads": args.threads,
        "device": str(device),
        "precision": mode.precision,
        "graph": mode.graph and device.type == "cuda",
        "compiled_kernels": kernels.uses_numba(example),
        "triton_kernels": kernels.uses_triton(example),
    }
