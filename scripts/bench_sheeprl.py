"""
Time sheeprl's DreamerV3 on the work that bench_update.py times, to set the two side by side.

    python -m venv peer && peer/bin/pip install torch==2.13.0 sheeprl==0.8.4
    peer/bin/python scripts/bench_sheeprl.py --size 1m --obs vector --threads 2

Calls the package's own training function (``dreamer_v3_5``, the revised algorithm) with its own
configuration for walker-walk: batch 16 x 64, horizon 15, 24 numbers or 64x64x3 pixels in, six
actions. Prints one JSON line with keys as in bench_update.py; batches are ready in memory, so
sheeprl pays nothing for its replay. With ``--act N ...`` it is the acting step of its training
loop for N environments, from observations in numpy to actions in numpy. Needs nothing of this
package. Turn off whatever else runs: on two threads both suffer far more from a busy core than a
single thread does.
"""

import argparse
import importlib
import json
import pathlib
import resource
import time
from importlib.metadata import version
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th

BATCH, LENGTH, OBS, ACTION = 16, 64, 24, 6


def make_config(size: str, key: str, image: bool, precision: str) -> Any:
    """Compose sheeprl's configuration of walker-walk."""
    import sheeprl
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf
    from sheeprl.utils.utils import dotdict

    overrides = [
        "exp=dreamer_v3_5_dmc_walker_walk",
        f"algo=dreamer_v3_5_{size.upper()}",
        "algo.total_steps=1000",
        f"algo.per_rank_batch_size={BATCH}",
        f"algo.per_rank_sequence_length={LENGTH}",
        f"algo.cnn_keys.encoder=[{key if image else ''}]",
        f"algo.mlp_keys.encoder=[{'' if image else key}]",
        "fabric.accelerator=cpu",
        f"fabric.precision={precision}",
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


def make_data(config: Any, key: str, image: bool) -> dict[str, th.Tensor]:
    """Make a batch of random numbers in the layout of sheeprl's replay."""
    steps = LENGTH + config.algo.replay_context
    shape = (steps, BATCH)
    obs = (
        th.randint(0, 256, (*shape, 3, 64, 64), dtype=th.uint8) if image else th.randn(*shape, OBS)
    )
    deter = config.algo.world_model.recurrent_model.recurrent_state_size
    flags = {name: th.zeros(*shape, 1) for name in ("terminated", "truncated", "is_first")}
    return flags | {
        key: obs,
        "rewards": th.randn(*shape, 1),
        "actions": th.rand(*shape, ACTION) * 2 - 1,
        "deter": th.zeros(*shape, deter).half(),
        "stoch": th.zeros(*shape, config.algo.world_model.stochastic_size, dtype=th.uint8),
    }


def time_acting(
    player: Any, fabric: Any, obs: dict[str, np.ndarray], image_keys: list[str]
) -> float:
    """Time one acting step, in milliseconds, as bench_update.py times ``predict``."""
    from sheeprl.algos.dreamer_v3.utils import prepare_obs

    times = []
    with th.inference_mode():
        player.init_states()
        for step in range(220):
            begun = time.perf_counter()
            inputs = prepare_obs(fabric, obs, cnn_keys=image_keys, num_envs=player.num_envs)
            th.stack(player.get_actions(inputs), dim=-1).cpu().numpy()
            if step >= 20:
                times.append(time.perf_counter() - begun)
    return float(np.median(times)) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="1m")
    parser.add_argument("--obs", choices=["vector", "image"], default="vector")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--threads", type=int, default=th.get_num_threads())
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--act", type=int, nargs="+", metavar="N", help="environments; no update")
    args = parser.parse_args()
    th.set_num_threads(args.threads)
    th.manual_seed(0)

    import hydra
    from lightning.fabric import Fabric
    from torch.distributions import Distribution

    image = args.obs == "image"
    key = "rgb" if image else "state"
    precision = "32-true" if args.precision == "fp32" else "bf16-mixed"
    config = make_config(args.size, key, image, precision)
    agents = importlib.import_module(f"sheeprl.algos.{config.algo.name}.agent")
    training = importlib.import_module(f"sheeprl.algos.{config.algo.name}.{config.algo.name}")
    th.set_float32_matmul_precision(config.float32_matmul_precision)
    Distribution.set_default_validate_args(config.distribution.validate_args)
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    fabric.launch()
    space = (
        gym.spaces.Box(0, 255, (3, 64, 64), np.uint8)
        if image
        else gym.spaces.Box(-np.inf, np.inf, (OBS,), np.float32)
    )

    def build(n_envs: int) -> Any:
        config.env.num_envs = n_envs
        return agents.build_agent(fabric, (ACTION,), True, config, gym.spaces.Dict({key: space}))

    result: dict[str, Any] = {
        "peer": f"sheeprl {version('sheeprl')}",
        **{name: getattr(args, name) for name in ("size", "obs", "threads", "precision")},
    }
    if args.act:
        for n in args.act:
            obs = {key: np.stack([space.sample() for _ in range(n)])}
            ms = time_acting(build(n)[-1], fabric, obs, [key] if image else [])
            print(json.dumps(result | {"n_envs": n, "milliseconds": round(ms, 3)}), flush=True)
        return
    world_model, actor, critic, target, _ = build(1)
    parameters = [*world_model.parameters(), *actor.parameters(), *critic.parameters()]
    optimizer = fabric.setup_optimizers(
        hydra.utils.instantiate(config.algo.optimizer, params=parameters, _convert_="all")
    )
    decay, maximum, percentile = (
        config.algo.actor.moments[name] for name in ("decay", "max", "percentile")
    )
    moments = training.Moments(decay, maximum, percentile.low, percentile.high)
    data = make_data(config, key, image)
    parts = (world_model, actor, critic, target, optimizer, moments)

    def update() -> None:
        training.train(fabric, config, *parts, dict(data), None, (ACTION,))
        training.update_target_critic(critic, target, config.algo.critic.tau)

    start = time.perf_counter()
    update()
    warmup = time.perf_counter() - start
    update()
    wall, cpu = [], []
    for _ in range(args.repeat):
        begun = time.perf_counter(), time.process_time()
        update()
        wall.append(time.perf_counter() - begun[0])
        cpu.append(time.process_time() - begun[1])
    result |= {
        "parameters": sum(p.numel() for p in parameters),
        "wall_seconds": round(float(np.median(wall)), 4),
        "cpu_seconds": round(float(np.median(cpu)), 4),
        "wall_seconds_range": [round(min(wall), 4), round(max(wall), 4)],
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "warmup_seconds": round(warmup, 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
