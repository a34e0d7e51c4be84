"""
Measure everything that a GPU has to show, in one command of six minutes.

    python scripts/gpu_report.py                          # on a machine with a GPU
    python scripts/gpu_report.py --device cpu --quick     # all of it small, to try it out
    python scripts/gpu_report.py --only update learn --ways 1 --add    # some of it once more

Every measurement runs in a process of its own with a time limit; those of most worth come first,
and the tests, which want as long as is left, last. One JSON line a result is printed at once and
written to ``--out``, so that whatever cuts the run off leaves what was measured until then; at the
end come tables in Markdown for docs/speed.md. sheeprl, where it is installed, is timed in the same
run (see bench_sheeprl.py). With ``--compiled`` its compiled form is timed, too: it is compiled in
the background on the upper half of the cores, from the start on, which takes longer than five
minutes there, and timed when it is ready. Lines that were measured while it still compiled say so
under ``beside``.
"""

import argparse
import datetime
import json
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch as th

from dreamzoo.benchmark.cases import Case, run_cases, wait_for_turn
from dreamzoo.benchmark.gpu_table import write_report
from dreamzoo.benchmark.hardware import measure_copy, measure_launch, measure_peak

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"
#: Arguments of Python that run the benchmarks.
BENCH = ["-m", "dreamzoo", "bench"]
SHEEPRL = str(SCRIPTS / "bench_sheeprl.py")
#: What is timed in every way and beside sheeprl, and what is timed in the best way only.
FIRST = [("12m", "image"), ("1m", "vector")]
LATER = [("200m", "image"), ("50m", "image"), ("200m", "vector"), ("50m", "vector")]
#: Ways to compute updates: precision, as a CUDA graph, with kernels in Triton.
WAYS = [
    ("bf16", "on", "on"),
    ("tf32", "on", "on"),
    ("bf16", "off", "on"),
    ("bf16", "on", "off"),
    ("fp32", "off", "off"),
]
WAY_OPTIONS = ("--precision", "--graph", "--triton")
#: Shapes that a processor is done with soon.
SMALL = ["--batch", "2", "--length", "4", "--horizon", "3"]
#: Which tests need a GPU: files with a mark, or with a fixture that has it.
GPU_TEST = re.compile(r"mark\.gpu|^ +device: str|def test_.*\bdevice: str", re.MULTILINE)
#: How pytest says what came of a test, with and without processes of its own.
OUTCOME = re.compile(
    r"(?P<after>PASSED|FAILED|SKIPPED|ERROR) (?P<test>tests/.+?)\s*$"
    r"|(?P<name>tests/.+?) (?P<before>PASSED|FAILED|SKIPPED|ERROR)"
)


def list_cases(
    device: str, quick: bool, ways: int | None = None, compiled: bool = False
) -> list[Case]:
    """
    List what is measured, that of most worth first. Tests, which leave no core to others, are last.

    :param device: ``cuda`` or ``cpu``
    :param quick: everything small
    :param ways: how many ways to compute an update; None: all
    :param compiled: time sheeprl's compiled form, too
    """
    cuda, peer = device == "cuda", find_spec("sheeprl") is not None
    own = [str(Path(__file__)), "--device", device, *["--quick"] * quick]
    first = [("debug", "image"), ("debug", "vector")] if quick else FIRST
    peers = [("1m", "vector")] if quick else FIRST
    modes = (WAYS if cuda else [("fp32", "off", "on")])[:ways]
    bench = Bench(device, quick)
    cases = [bench.compiled_peer(*what) for what in peers if peer and cuda and compiled]
    cases.append(Case("card", [*own, "--case", "card", "--hold"], 30, holds=True))
    cases += [bench.update(*what, modes) for what in first]
    cases += [bench.peer(*what) for what in peers if peer]
    cases += [bench.act(*what, [m for m in modes[:3] if m[0] == modes[0][0]]) for what in first]
    cases.append(bench.dream(["debug"] if quick else ["1m", "12m"]))
    cases.append(bench.learn(*first[0], modes[0]))
    cases += [bench.update(*what, modes[:1]) for what in LATER if not quick]
    cases.append(Case("tests", [*own, "--case", "tests"], 150))
    return cases


class Bench(NamedTuple):
    """
    Calls of ``dreamzoo bench`` and of the script that times sheeprl.

    :param device: ``cuda`` or ``cpu``
    :param quick: with small shapes
    """

    device: str
    quick: bool

    def update(self, size: str, obs: str, ways: list[tuple[str, str, str]]) -> Case:
        more = ["--repeat", "2"] if self.quick else ["--repeat", "3", "--round", "8", "--launches"]
        return self._own(f"update {size} {obs}", size, obs, ways, more, 90)

    def act(self, size: str, obs: str, ways: list[tuple[str, str, str]]) -> Case:
        return self._own(f"act {size} {obs}", size, obs, ways, ["--act", "1", "16"], 30)

    def learn(self, size: str, obs: str, way: tuple[str, str, str]) -> Case:
        updates = "2" if self.quick else "30"
        return self._own(f"learn {size} {obs}", size, obs, [way], ["--learn", updates], 45)

    def _own(
        self,
        name: str,
        size: str,
        obs: str,
        ways: list[tuple[str, str, str]],
        more: list[str],
        seconds: float,
    ) -> Case:
        arguments = ["--size", size, "--obs", obs, *more]
        for option, values in zip(WAY_OPTIONS, zip(*ways, strict=True), strict=True):
            arguments += [option, *values]
        return self._case(name, [*BENCH, "update"], arguments, seconds, holds=True)

    def dream(self, sizes: list[str]) -> Case:
        numbers = ["1", "16"] if self.quick else ["1", "256", "4096", "16384"]
        seconds = "0.1" if self.quick else "1"
        arguments = ["--envs", "synthetic/vector", "--sizes", *sizes, "--dreams", *numbers]
        arguments += ["--only-dreams", "--seconds", seconds]
        return self._case("dreams", [*BENCH, "dream"], arguments, 40, holds=True)

    def peer(self, size: str, obs: str) -> Case:
        precisions = ["fp32"] if self.device == "cpu" else ["fp32", "bf16"]
        arguments = ["--size", size, "--obs", obs, "--precision", *precisions, "--repeat", "5"]
        return self._case(f"sheeprl {size} {obs}", [SHEEPRL], arguments, 45, holds=True)

    def compiled_peer(self, size: str, obs: str) -> Case:
        arguments = ["--size", size, "--obs", obs, "--precision", "bf16"]
        arguments += ["--compile", "only", "--hold"]
        name = f"sheeprl compiled {size} {obs}"
        return self._case(name, [SHEEPRL], arguments, 300)._replace(background=True)

    def _case(
        self,
        name: str,
        program: list[str],
        arguments: list[str],
        seconds: float,
        holds: bool = False,
    ) -> Case:
        command = [*program, "--device", self.device, *arguments]
        if self.quick:
            command += ["--threads", "1"]
            command += SMALL if program[-1] != "dream" else []
        return Case(name, command + ["--hold"] * holds, seconds, holds)


def describe_card(device: th.device, quick: bool, commit: str | None) -> Iterator[dict[str, Any]]:
    """Say what is measured on, then what it could do."""
    cuda = device.type == "cuda"
    yield {
        "card": th.cuda.get_device_name(device) if cuda else platform.processor() or "CPU",
        "memory_gb": round(th.cuda.mem_get_info(device)[1] / 1e9, 1) if cuda else None,
        "driver": ask("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "cuda": th.version.cuda,
        "torch": th.__version__,
        "triton": version("triton"),
        "stable_baselines3": version("stable-baselines3"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "commit": commit or ask("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }
    n, megabytes = (512, 16) if quick else (None, 1_024)
    precisions = ("fp32", "tf32", "bf16") if cuda else ("fp32",)
    peaks = {p: round(measure_peak(device, p, n) / 1e3, 3) for p in precisions}
    floors = {"peak_tflops": peaks, "copy_gb_per_second": round(measure_copy(device, megabytes))}
    if cuda:
        launch, gap = measure_launch(device)
        floors |= {"launch_us": round(launch, 2), "gap_us": round(gap, 2)}
    yield floors


def ask(*command: str) -> str | None:
    """Return what a command says; None if it cannot be asked."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def version(package: str) -> str | None:
    """Return the version of a package; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def has_gpu_test(path: Path) -> bool:
    """Tell whether a file of tests may hold some that need a GPU."""
    return GPU_TEST.search(path.read_text()) is not None


def run_tests(seconds: float = 145) -> dict[str, Any]:
    """
    Run the tests that need a GPU.

    :param seconds: after which those that have not ended do not count
    """
    files = sorted(path for path in (ROOT / "tests").rglob("test_*.py") if has_gpu_test(path))
    command = [sys.executable, "-m", "pytest", "-v", "--tb=line", "-p", "no:cacheprovider"]
    command += ["-m", "gpu and not slow and not learning"]
    if find_spec("xdist") is not None:
        command += ["-n", str(min(16, os.cpu_count() or 1))]
    command += [str(path.relative_to(ROOT)) for path in files]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(process.stdout or ()), daemon=True)
    reader.start()
    reader.join(seconds)
    ended = "out of time" if reader.is_alive() else said[-1].strip("= \n") if said else "no output"
    process.kill()
    return count_tests(said) | {"ended": ended}


def count_tests(said: list[str]) -> dict[str, Any]:
    """
    Count what came of tests.

    :param said: lines of ``pytest -v``
    """
    outcomes: dict[str, str] = {}
    for line in said:
        found = OUTCOME.search(line)
        if found is not None:
            name = found["test"] or found["name"]
            outcomes[name] = found["after"] or found["before"]
    counts = Counter(outcomes.values())
    bad = [name for name, outcome in outcomes.items() if outcome in ("FAILED", "ERROR")]
    return {
        "passed": counts["PASSED"],
        "failed": len(bad),
        "skipped": counts["SKIPPED"],
        "failures": bad,
    }


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=350)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="everything small")
    parser.add_argument("--out", type=Path, help="default: scripts/results/gpu.json on CUDA")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="cases whose names have one")
    parser.add_argument("--ways", type=int, metavar="N", help="to compute an update; default: all")
    parser.add_argument("--compiled", action="store_true", help="sheeprl's compiled form, too")
    parser.add_argument("--add", action="store_true", help="to what --out holds of other runs")
    parser.add_argument("--commit", help="where git cannot be asked")
    parser.add_argument("--case", choices=["card", "tests"], help="in this process: used by itself")
    parser.add_argument("--hold", action="store_true", help="wait for a line of input to begin")
    parser.add_argument("--table", type=Path, metavar="FILE", help="of what --out has kept")
    args = parser.parse_args(argv)
    if args.out is None and args.device == "cuda":
        args.out = SCRIPTS / "results" / "gpu.json"
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.table:
        lines = [json.loads(line) for line in args.table.read_text().splitlines()]
        print("\n\n".join(map(write_report, split_runs(lines))))
        return
    if args.case == "card":
        if args.hold:
            wait_for_turn()
        for line in describe_card(th.device(args.device), args.quick, args.commit):
            print(json.dumps(line), flush=True)
        return
    if args.case == "tests":
        print(json.dumps(run_tests()), flush=True)
        return
    cases = list_cases(args.device, args.quick, args.ways, args.compiled)
    if args.commit:
        cases = [
            c._replace(command=[*c.command, "--commit", args.commit]) if c.name == "card" else c
            for c in cases
        ]
    if args.only:
        cases = [case for case in cases if any(word in case.name for word in args.only)]
    report(cases, args.seconds, args.out, args.add)


def split_runs(lines: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """
    Split what several runs have written to one file, by the clock that began anew in each.

    :param lines: of the file
    """
    runs: list[list[dict[str, Any]]] = []
    for line in lines:
        if not runs or line["at"] < runs[-1][-1]["at"]:
            runs.append([])
        runs[-1].append(line)
    return runs


def report(cases: list[Case], seconds: float, out: Path | None, add: bool = False) -> None:
    """
    Run cases, keep and print what they say, and the tables at the end.

    :param cases: those of most worth first
    :param seconds: for all of them
    :param out: file of JSON lines, written anew
    :param add: keep what is in the file
    """
    lines: list[dict[str, Any]] = []
    start = time.monotonic()
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        if not add:
            out.write_text("")

    def emit(line: dict[str, Any]) -> None:
        line = line | {"at": round(time.monotonic() - start, 1)}
        lines.append(line)
        text = json.dumps(line)
        print(text, flush=True)
        if out is not None:
            with out.open("a") as file:
                file.write(text + "\n")

    # Whoever ends this run gets the tables, too, and leaves no process behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run_cases(cases, seconds, emit)
    finally:
        print("\n" + write_report(lines), flush=True)


if __name__ == "__main__":
    main()
