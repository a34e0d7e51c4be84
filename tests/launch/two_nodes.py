"""
Run something on a Ray cluster of two nodes, which are processes of this machine.

    python -m tests.launch.two_nodes FOLDER attempts
    python -m tests.launch.two_nodes FOLDER mortal ADDRESS
    python -m tests.launch.two_nodes FOLDER command WORDS...
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from dreamzoo.cli import main as dreamzoo
from dreamzoo.launch import ELSEWHERE, Attempt, Outcome, on_ray
from dreamzoo.launch.on_ray import RayTasks
from dreamzoo.launch.watch import watch
from tests.launch.test_processes import comes, lives

for name in ("RAY_ADDRESS", "RAY_RUNTIME_ENV_HOOK"):
    os.environ.pop(name, None)
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}

from ray.cluster_utils import Cluster  # noqa: E402

LASTS = """
import os, sys, time
from dreamzoo.launch.watch import end_with_watcher
end_with_watcher()
open(sys.argv[1], "w").write(str(os.getpid()))
try:
    time.sleep(600)
finally:
    open(sys.argv[1] + ".closed", "w").close()
"""
SMALL: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 80 * 2**20}


def cluster() -> Any:
    # Workers are nicer than others by default; but this process waits for them.
    equal = {"worker_niceness": 0, "health_check_period_ms": 500}
    head = {"num_cpus": 1, "_system_config": equal, **SMALL}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=1, **SMALL)
    return made


def mortal(address: str, folder: Path) -> None:
    """Be a call that does not come to its end."""
    with RayTasks(address).open([folder], None) as submit:
        words = ("-c", LASTS, str(folder / "orphan.pid"))
        submit(Attempt(folder / "orphan", words, device="cpu")).result()


def blind(attempt: Attempt, marks: Sequence[Path], cwd: Path) -> tuple[str, Outcome]:
    """Do as :func:`dreamzoo.launch.on_node.train` where only the node of the first attempt sees."""
    import ray

    node, sees = ray.get_runtime_context().get_node_id(), attempt.out.with_name("sees")
    if attempt.out.name == "first":
        sees.write_text(node)
    if sees.read_text() != node:
        return node, Outcome(ELSEWHERE, "blind")
    return node, Outcome(watch(attempt, cwd=cwd))


def attempts(folder: Path, nodes: Any) -> dict[str, Any]:
    """Make attempts that train nothing, and find out what becomes of them."""

    def python(name: str, text: str, threads: int = 1) -> Attempt:
        return Attempt(folder / name, ("-c", text), threads, "cpu")

    def long(name: str, threads: int = 1) -> Attempt:
        words = ("-c", LASTS, str(folder / f"{name}.pid"))
        return Attempt(folder / name, words, threads, "cpu")

    def pid(name: str) -> int:
        while not (text := _read(folder / f"{name}.pid")):
            time.sleep(0.1)
        return int(text)

    root = os.getcwd()
    os.chdir(folder)  # the nodes were started elsewhere
    found: dict[str, Any] = {"cwd": os.getcwd()}
    with RayTasks(nodes.address).open([folder], None) as submit:
        found["marks"] = len(list(folder.glob(".*")))
        kills = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"
        asked = [python("fine", "import os; print(os.getcwd())"), python("fails", "1 / 0")]
        futures = [submit(attempt) for attempt in [*asked, python("watcher", kills)]]
        found["outcomes"] = [tuple(future.result(120)) for future in futures]
        # One that only a node that joins later has the cores for.
        later = submit(long("later", threads=2))
        added = nodes.add_node(num_cpus=2, **SMALL)
        found["later"] = pid("later")
        nodes.remove_node(added, allow_graceful=False)
        found["node died"] = tuple(later.result(120))
        while sum(node["Alive"] for node in _ray().nodes()) > 2:
            time.sleep(0.1)
        with mock.patch.object(on_ray, "train", blind):
            tasks = on_ray._Tasks(_ray(), [], RayTasks())
        waits = "import os, time\nwhile not os.path.exists('go'):\n    time.sleep(0.1)"
        first = tasks.submit(python("first", waits))  # the other node alone has room then
        while not (folder / "sees").exists():
            time.sleep(0.1)
        found["elsewhere"] = tasks.submit(python("second", "pass")).result(120).code
        third = tasks.submit(python("third", "pass"))
        time.sleep(2)
        found["waited"] = not third.done()
        (folder / "go").touch()
        found["avoided"] = [first.result(120).code, third.result(120).code]
        running = [submit(long(name)) for name in ("one", "two")]
        pids = [pid(name) for name in ("one", "two")]
    found["closed"] = sorted(path.name for path in folder.glob("*.closed"))
    found["after"] = [future.result(120).code for future in running]
    found["marks left"] = len(list(folder.glob(".*")))
    here = ["-m", "tests.launch.two_nodes", str(folder), "mortal", nodes.address]
    with subprocess.Popen([sys.executable, *here], cwd=root) as call:
        orphan = pid("orphan")
        call.kill()
    begun = [found["later"], *pids, orphan]
    found["left"] = [each for each in begun if not comes(partial(is_gone, each))]
    found["connected"] = _ray().is_initialized()
    return found


def is_gone(pid: int) -> bool:
    return not lives(pid)


def _ray() -> Any:
    import ray

    return ray


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def main(argv: list[str]) -> None:
    folder, what, *words = argv
    if what == "mortal":
        mortal(words[0], Path(folder))
        return
    nodes = cluster()
    try:
        if what == "attempts":
            found = attempts(Path(folder), nodes)
            (Path(folder) / "found.json").write_text(json.dumps(found))
        else:
            dreamzoo([*words, "--backend", "ray", "--address", nodes.address])
    finally:
        nodes.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
