"""
An agent on a cluster of two nodes, one of whose workers is killed, or a whole node is.

    python -m tests.envs.remote.cluster_scenario worker
    python -m tests.envs.remote.cluster_scenario node

Prints one JSON line of what the agent has seen of it. A process of its own, since one process
belongs to one cluster.
"""

import json
import os
import pathlib
import signal
import sys
import time
import warnings
from functools import partial
from typing import Any

from ray.cluster_utils import Cluster
from stable_baselines3.common.callbacks import BaseCallback

from dreamzoo import DreamerV3
from dreamzoo.envs import RemoteVecEnv
from tests.envs.remote.small_env import SmallEnv

#: Steps of the VecEnv before the disaster, and of all.
BEFORE, STEPS = 6, 16
#: Seconds until a worker has noticed that its node is gone.
PATIENCE = 60


class Disaster(BaseCallback):
    """
    Kills a worker, or its node.

    :param what: ``worker`` or ``node``
    :param cluster: of two nodes
    """

    def __init__(self, what: str, cluster: Any) -> None:
        super().__init__()
        self.what, self.cluster = what, cluster
        self.lost: list[list[Any]] = []

    def _on_step(self) -> bool:
        env: Any = self.training_env
        if self.n_calls == BEFORE and self.what == "worker":
            os.kill(env.get_attr("pid")[0], signal.SIGKILL)
        elif self.n_calls == BEFORE:
            (second,) = self.cluster.worker_nodes
            lost = env.get_attr("pid")[env.get_attr("node").index(second.node_id)]
            self.cluster.remove_node(second, allow_graceful=False)
            end = time.monotonic() + PATIENCE
            while pathlib.Path(f"/proc/{lost}").exists() and time.monotonic() < end:
                time.sleep(0.1)  # it outlives its node by a moment, and acts
        told = [row for row, info in enumerate(self.locals["infos"]) if "worker_lost" in info]
        if told:
            self.lost.append([self.n_calls, told])
        return True


def main(what: str) -> None:
    # By default workers are so nice that on a busy machine they starve.
    head = {"num_cpus": 1, "_system_config": {"worker_niceness": 0}}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1)
    make = partial(SmallEnv, length=1000)
    # By default a CPU each, of which one is left when a node is lost.
    env = RemoteVecEnv(make, 2, cluster.address, 1, acting="worker", ahead=2)
    agent: Any = DreamerV3("MlpPolicy", env, seed=0, device="cpu", **DreamerV3.smallest)
    disaster = Disaster(what, cluster)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", RuntimeWarning)
        nodes_before = env.get_attr("node")
        agent.learn(2 * STEPS, callback=disaster)
        nodes_after = env.get_attr("node")
    arrays, count = agent.replay_buffer._arrays, agent.replay_buffer._count
    ends = [
        [int(i) for i in range(count[row]) if arrays["dones"][i, row]]
        for row in range(env.num_envs)
    ]
    cut = all(arrays["timeouts"][i, row] for row, found in enumerate(ends) for i in found)
    line = {
        "steps": agent.num_timesteps,
        "updates": agent._n_updates,
        "nodes_before": len({*nodes_before}),
        "nodes_after": len({*nodes_after}),
        "lost": disaster.lost,
        "ends": ends,
        "all_truncated": bool(cut),
        "warnings": [str(x.message) for x in said if "was lost" in str(x.message)],
    }
    print(json.dumps(line), flush=True)
    env.close()


if __name__ == "__main__":
    main(sys.argv[1])
