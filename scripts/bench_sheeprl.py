"""
Time sheeprl's Dreamers on the work of ``dreamzoo bench update``, to set the two side by side.

    python -m venv peer && peer/bin/pip install torch==2.13.0 sheeprl==0.8.4
    peer/bin/python scripts/bench_sheeprl.py --size 1m --obs vector --threads 2
    peer/bin/python scripts/bench_sheeprl.py --agent dreamer_v2 --obs image --threads 1
    python scripts/bench_sheeprl.py --device cuda --precision fp32 bf16 --compile --size 12m

Calls the package's own training function with its own configuration: of DreamerV3
(``dreamer_v3_5``, the revised algorithm) that for walker-walk, of ``dreamer_v1`` and ``dreamer_v2``
its defaults, with :data:`SIZES` as in the papers. Batch, length and horizon are those of ``dreamzoo
bench update`` for the same agent and task; 24 numbers or 64x64x3 pixels in, six actions, or with
``--task atari`` 64x64x1 pixels and 18 discrete actions.

Prints one JSON line a precision with keys as in ``dreamzoo bench update``, ``gflop`` counted in the
same way; batches are ready on the device, so sheeprl pays nothing for its replay. With ``--act N
...`` it is the acting step of its training loop for N environments, from observations in numpy to
actions in numpy. Needs nothing of this package. Turn off whatever else runs: on two threads both
suffer far more from a busy core than a single thread does.

``--compile`` adds its fastest setting, ``algo.compile.enabled=True`` in the last precision: the
losses in ``torch.compile`` and, on a GPU, in CUDA graphs (its own default for ``mode``). Compiling
the unrolled loops takes minutes, so that it comes last, ends after ``--warmup-seconds`` with a
line that says so. With ``--hold`` the script waits for a line of input before it builds anything,
or, where it only compiles (``--compile only``), between compiling and timing.
"""

import argparse
import importlib
import json
import pathlib
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th

#: Width of vectors, and of actions by task.
OBS, ACTION = 24, {"control": 6, "atari": 18}
#: Batch and length of an update, by agent and task: the published ones.
SHAPES = {
    "dreamer_v1": {"control": (50, 50), "atari": (50, 50)},
    "dreamer_v2": {"control": (16, 50), "atari": (50, 50)},
    "dreamer_v3": {"control": (16, 64), "atari": (16, 64)},
}
#: Sizes in which the other package's defaults differ, by agent; of V2, those of its control suite.
_WIDTHS = "algo.world_model.{}_model.{}=200"
SIZES = {
    "dreamer_v1": [
        f"algo.world_model.{part}.{size}"
        for part in ("encoder", "observation_model")
        for size in ("mlp_layers=2", "dense_units=200")
    ],
    "dreamer_v2": [
        _WIDTHS.format("recurrent", "recurrent_state_size"),
        _WIDTHS.format("transition", "hidden_size"),
        _WIDTHS.format("representation", "hidden_size"),
    ],
}
#: Names of observations in sheeprl, and of precisions in Lightning.
KEYS = {"vector": "state", "image": "rgb"}
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}


def wait_for_turn() -> None:
    """Say that this process is prepared, and wait until it is told to go on."""
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()


class OutOfTime(BaseException):
    """Warm-up took longer than it may; no compiler takes it for an error of its own."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise :class:`OutOfTime` where the block is after some seconds."""

    def stop(*_: Any) -> None:
        raise OutOfTime

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def overrides_of(args: argparse.Namespace) -> list[str]:
    """Choose experiment and sizes of an agent."""
    if args.agent == "dreamer_v3":
        return ["exp=dreamer_v3_5_dmc_walker_walk", f"algo=dreamer_v3_5_{args.size.upper()}"]
    atari = args.task == "atari"
    sizes = SIZES[args.agent] if args.agent == "dreamer_v1" or not atari else []
    return [f"exp={args.agent}", f"algo.world_model.use_continues={atari}", *sizes]


def make_config(args: argparse.Namespace, precision: str, compiled: bool) -> Any:
    """Compose sheeprl's configuration of the work."""
    import sheeprl
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf
    from sheeprl.utils.utils import dotdict

    key, image = KEYS[args.obs], args.obs == "image"
    overrides = [
        *overrides_of(args),
        "algo.total_steps=1000",
        f"algo.per_rank_batch_size={args.batch}",
        f"algo.per_rank_sequence_length={args.length}",
        f"algo.horizon={args.horizon}",
        *(f"algo.cnn_keys.{x}=[{key if image else ''}]" for x in ("encoder", "decoder")),
        *(f"algo.mlp_keys.{x}=[{'' if image else key}]" for x in ("encoder", "decoder")),
        f"algo.compile.enabled={compiled}",
        f"fabric.accelerator={args.device}",
        f"fabric.precision={PRECISIONS[precision]}",
        "metric.log_level=0",
    ]
    folder = pathlib.Path(sheeprl.__file__).parent / "configs"
    with initialize_config_dir(str(folder), version_base="1.3"):
        HydraConfig.instance().set_config(
            compose("config", overrides=overrides, return_hydra_config=True)
        )
        config = compose("config", overrides=overrides)
    for name in ("root_dir", "run_name", "exp_name"):  # made of the launcher's own settings
        config[name] = "bench"
    return dotdict(OmegaConf.to_container(config, resolve=True, throw_on_missing=False))


def make_data(config: Any, args: argparse.Namespace) -> dict[str, th.Tensor]:
    """Make a batch of random numbers in the layout of sheeprl's replay, on the device."""
    algo, width = config.algo, ACTION[args.task]
    shape = (args.length + algo.get("replay_context", 0), args.batch)
    channels = observation_space(args).shape[0]
    obs = (
        th.randint(0, 256, (*shape, channels, 64, 64), dtype=th.uint8)
        if args.obs == "image"
        else th.randn(*shape, OBS)
    )
    actions = th.rand(*shape, width) * 2 - 1
    if args.task == "atari":
        actions = th.nn.functional.one_hot(actions.argmax(-1), width).float()
    flags = {name: th.zeros(*shape, 1) for name in ("terminated", "truncated", "is_first")}
    data = flags | {KEYS[args.obs]: obs, "rewards": th.randn(*shape, 1), "actions": actions}
    if args.agent == "dreamer_v3":
        model = algo.world_model
        deter = model.recurrent_model.recurrent_state_size
        data["deter"] = th.zeros(*shape, deter).half()
        data["stoch"] = th.zeros(*shape, model.stochastic_size, dtype=th.uint8)
    return {name: value.to(args.device) for name, value in data.items()}


def observation_space(args: argparse.Namespace) -> gym.spaces.Box:
    """Return the space of observations, channels first."""
    if args.obs == "vector":
        return gym.spaces.Box(-np.inf, np.inf, (OBS,), np.float32)
    return gym.spaces.Box(0, 255, (3 if args.task == "control" else 1, 64, 64), np.uint8)


class Peer:
    """
    sheeprl's agent, set up as its own command line does.

    :param args: of this script
    :param precision: ``fp32``, which on a GPU takes TF32 by its configuration, or ``bf16``
    :param compiled: with ``algo.compile.enabled=True``
    """

    def __init__(self, args: argparse.Namespace, precision: str, compiled: bool = False) -> None:
        from lightning.fabric import Fabric
        from torch.distributions import Distribution

        self.args = args
        self.config = make_config(args, precision, compiled)
        name = self.config.algo.name
        self.agents = importlib.import_module(f"sheeprl.algos.{name}.agent")
        self.training = importlib.import_module(f"sheeprl.algos.{name}.{name}")
        th.set_float32_matmul_precision(self.config.float32_matmul_precision)
        th.backends.cudnn.benchmark = self.config.torch_backends_cudnn_benchmark
        Distribution.set_default_validate_args(self.config.distribution.validate_args)
        self.fabric = Fabric(
            accelerator=args.device, devices=1, precision=self.config.fabric.precision
        )
        self.fabric.launch()
        self.space = observation_space(args)
        self.actions = (ACTION[args.task],)

    def build(self, n_envs: int) -> Any:
        """Build the modules, the last of which acts for some environments."""
        self.config.env.num_envs = n_envs
        spaces = gym.spaces.Dict({KEYS[self.args.obs]: self.space})
        continuous = self.args.task == "control"
        return self.agents.build_agent(self.fabric, self.actions, continuous, self.config, spaces)

    def updater(self) -> tuple[Callable[[], None], int]:
        """
        Build everything that an update takes.

        :return: which makes one update, and the number of parameters that it trains
        """
        return self._revised() if self.args.agent == "dreamer_v3" else self._earlier()

    def _revised(self) -> tuple[Callable[[], None], int]:
        """Build the update of DreamerV3: one optimizer, and statistics of returns."""
        import hydra

        algo = self.config.algo
        world_model, actor, critic, target, _ = self.build(1)
        parameters = [*world_model.parameters(), *actor.parameters(), *critic.parameters()]
        optimizer = self.fabric.setup_optimizers(
            hydra.utils.instantiate(algo.optimizer, params=parameters, _convert_="all")
        )
        decay, maximum, percentile = (
            algo.actor.moments[name] for name in ("decay", "max", "percentile")
        )
        moments = self.training.Moments(decay, maximum, percentile.low, percentile.high)
        moments = moments.to(self.fabric.device)
        data = make_data(self.config, self.args)
        parts = (world_model, actor, critic, target, optimizer, moments)

        def update() -> None:
            self.training.train(self.fabric, self.config, *parts, dict(data), None, self.actions)
            self.training.update_target_critic(critic, target, algo.critic.tau)

        return update, sum(p.numel() for p in parameters)

    def _earlier(self) -> tuple[Callable[[], None], int]:
        """Build the update of the first two: three optimizers; V2's slow critic stands still."""
        from sheeprl.algos.dreamer_v2.utils import build_optimizer  # of V1's it makes plain Adam

        algo = self.config.algo
        *networks, _ = self.build(1)
        trained = dict(zip(("world_model", "actor", "critic"), networks, strict=False))
        optimizers = self.fabric.setup_optimizers(
            *(build_optimizer(algo[name].optimizer, x.parameters()) for name, x in trained.items())
        )
        data = make_data(self.config, self.args)
        last = (self.config, self.actions) if self.args.agent == "dreamer_v2" else (self.config,)

        def update() -> None:
            self.training.train(self.fabric, *networks, *optimizers, dict(data), None, *last)

        return update, sum(p.numel() for x in trained.values() for p in x.parameters())


def count_gflop(update: Callable[[], None]) -> float:
    """Count the arithmetic of one update; counting sees only the thread that it runs in."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        update()
    return counter.get_total_flops() / 1e9


def time_acting(
    peer: Peer, player: Any, obs: dict[str, np.ndarray], image_keys: list[str]
) -> float:
    """Time one acting step, in milliseconds, as ``dreamzoo bench update`` times ``predict``."""
    version = "dreamer_v3" if peer.args.agent == "dreamer_v3" else "dreamer_v2"
    prepare_obs = importlib.import_module(f"sheeprl.algos.{version}.utils").prepare_obs
    explores = {"step": 0} if peer.args.agent == "dreamer_v1" else {}
    act = player.get_exploration_actions if explores else player.get_actions

    times = []
    with th.inference_mode():
        player.init_states()
        for step in range(220):
            begun = time.perf_counter()
            inputs = prepare_obs(peer.fabric, obs, cnn_keys=image_keys, num_envs=player.num_envs)
            actions = act(inputs, **explores)
            if peer.args.task == "atari":
                actions = [action.argmax(dim=-1) for action in actions]
            th.stack(list(actions), dim=-1).cpu().numpy()
            if step >= 20:
                times.append(time.perf_counter() - begun)
    return float(np.median(times)) * 1e3


def time_updates(
    update: Callable[[], None], repeat: int, device: str
) -> tuple[list[float], list[float]]:
    """Time updates: seconds on the wall, on a GPU between device events, and of the processor."""
    wall, cpu = [], []
    for _ in range(repeat):
        begun = time.perf_counter(), time.process_time()
        if device == "cuda":
            begin, end = (th.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            update()
            end.record()
            th.cuda.synchronize()
            wall.append(begin.elapsed_time(end) / 1e3)
        else:
            update()
            wall.append(time.perf_counter() - begun[0])
        cpu.append(time.process_time() - begun[1])
    return wall, cpu


def measure(args: argparse.Namespace, precision: str, compiled: bool) -> dict[str, Any]:
    """Warm up, then time updates in one precision."""
    if args.device == "cuda":
        th.cuda.reset_peak_memory_stats()
    peer = Peer(args, precision, compiled)
    update, parameters = peer.updater()
    start = time.perf_counter()
    try:
        with deadline(args.warmup_seconds):
            # Compiled graphs run once as they are, once to be recorded, and then as CUDA graphs.
            for _ in range(5 if compiled else 2):
                update()
                if args.device == "cuda":
                    th.cuda.synchronize()
    except OutOfTime:
        return {"error": f"not warm after {args.warmup_seconds:g} s"}
    warmup = time.perf_counter() - start
    if args.hold and args.compile == "only":
        wait_for_turn()
    wall, cpu = time_updates(update, args.repeat, args.device)
    result = {
        "matmul_precision": th.get_float32_matmul_precision(),
        "parameters": parameters,
        "wall_seconds": round(float(np.median(wall)), 5),
        "cpu_seconds": round(float(np.median(cpu)), 5),
        "wall_seconds_range": [round(min(wall), 5), round(max(wall), 5)],
        "gflop": None if compiled else round(count_gflop(update), 1),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "warmup_seconds": round(warmup, 2),
    }
    if args.device == "cuda":
        result["peak_gpu_mb"] = th.cuda.max_memory_allocated() // 2**20
    return result


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agent", choices=SHAPES, default="dreamer_v3")
    parser.add_argument("--task", choices=ACTION, default="control")
    parser.add_argument("--size", default="1m", help="of DreamerV3's model")
    parser.add_argument("--obs", choices=KEYS, default="vector")
    parser.add_argument("--batch", type=int, help="sequences; default: the published setting")
    parser.add_argument("--length", type=int, help="their steps; the same")
    parser.add_argument("--horizon", type=int, default=15)
    parser.add_argument("--precision", choices=PRECISIONS, nargs="+", default=["fp32"])
    parser.add_argument(
        "--compile", choices=["also", "only"], nargs="?", const="also", help="default: also"
    )
    parser.add_argument("--warmup-seconds", type=float, default=600)
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=th.get_num_threads())
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--act", type=int, nargs="+", metavar="N", help="environments; no update")
    args = parser.parse_args(argv)
    batch, length = SHAPES[args.agent][args.task]
    args.batch, args.length = args.batch or batch, args.length or length
    if args.agent != "dreamer_v3":
        args.size = None
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    th.set_num_threads(args.threads)
    th.manual_seed(0)
    result: dict[str, Any] = {
        "peer": f"sheeprl {version('sheeprl')}",
        **{name: getattr(args, name) for name in ("agent", "task", "size", "obs")},
        **{name: getattr(args, name) for name in ("batch", "length", "horizon")},
        **{name: getattr(args, name) for name in ("device", "threads")},
    }
    if args.act:
        peer = Peer(args, args.precision[-1])
        keys = [KEYS[args.obs]] if args.obs == "image" else []
        for n in args.act:
            obs = {KEYS[args.obs]: np.stack([peer.space.sample() for _ in range(n)])}
            ms = round(time_acting(peer, peer.build(n)[-1], obs, keys), 3)
            line = result | {"precision": args.precision[-1], "n_envs": n, "milliseconds": ms}
            print(json.dumps(line), flush=True)
        return
    if args.hold and args.compile != "only":
        Peer(args, args.precision[0])  # imports everything
        wait_for_turn()
    settings = [(p, False) for p in args.precision] if args.compile != "only" else []
    if args.compile:
        settings.append((args.precision[-1], True))
    for precision, compiled in settings:
        line = result | {"precision": precision, "compiled": compiled}
        print(json.dumps(line | measure(args, precision, compiled)), flush=True)


if __name__ == "__main__":
    main()
