"""
Measure what it costs to save and load a replay, beside its bytes alone.

    dreamzoo bench files --gigabytes 1 --folder .

Every turn writes the replay's bytes to a file and has them fsynced, saves the replay, reads the
bytes into new memory, and loads the replay. Prints one JSON line for files that the system has in
its memory when they are read (``warm``) and one for files that it has to get from the disk
(``cold``): medians of seconds on the wall and of CPU, shares ``save_per_write`` and
``load_per_read`` and those of every turn, and ``save_memory`` and ``load_memory``: the peak beside
what was there, as a share of the replay, which a load takes once. On Linux.
"""

import json
import pathlib
import sys
import tempfile

import torch as th

from dreamzoo.benchmark.speed.files import compare, make_agent, measure_files
from dreamzoo.cli.arguments import make_parser, plain_errors, whole


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("bench files", __doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0, help="of the replay")
    parser.add_argument("--turns", type=whole(1), default=5)
    parser.add_argument("--folder", type=pathlib.Path, default=".", help="on the disk to measure")
    args = parser.parse_args(argv)
    if sys.platform != "linux":
        parser.error("memory and the system's knowledge of files are measured on Linux only")
    th.set_num_threads(1)
    with plain_errors():
        agent = make_agent(args.gigabytes)
    assert agent.replay_buffer is not None
    nbytes = agent.replay_buffer.nbytes()
    with plain_errors(), tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for cold in (False, True):
            path = pathlib.Path(folder)
            turns = [measure_files(agent, path, cold) for _ in range(args.turns)]
            said = {"files": "cold" if cold else "warm", "gigabytes": round(nbytes / 1e9, 3)}
            print(json.dumps(said | compare(turns, nbytes)), flush=True)
