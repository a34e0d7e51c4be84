"""
Plant mistakes one at a time, run the fast tests, and print the share that they notice.

    make mutants    # or PYTHONPATH=. python -m tests.mutants --help

A mistake counts as noticed if a fast test fails, or does not end. It is planted in a copy of the
repository. A mistake takes some 20 seconds; with ``--whole`` one that its own tests do not notice
takes as long as all fast tests.
"""

import argparse
import importlib
import json
import os
import pathlib
import pkgutil
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import tests.mutants
from tests.mutants.mutant import Mutant

ROOT = pathlib.Path(__file__).parents[2]
#: Of all files beside this one.
MUTANTS: list[Mutant] = [
    mutant
    for found in pkgutil.iter_modules(tests.mutants.__path__)
    if found.name not in ("__main__", "mutant")
    for mutant in importlib.import_module(f"tests.mutants.{found.name}").MUTANTS
]
#: What the tests need of the repository.
PARTS = (
    *("zoo", "wrappers", "envs", "scripts", "tests", "docs", ".github"),
    *("pyproject.toml", "Makefile", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff"),
)
#: Seconds after which tests hang.
PATIENCE = 1_800
FAILED = 1  # pytest's exit status if tests failed


class Copy:
    """
    A copy of the repository to plant mistakes in.

    :param folder: empty
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, folder / part)
            else:
                shutil.copy2(source, folder / part)
        # The package under its names of import, ahead of an installed one.
        package = folder / "build" / "dreamzoo"
        package.mkdir(parents=True)
        for entry in [*sorted((folder / "zoo").iterdir()), folder / "wrappers", folder / "envs"]:
            (package / entry.name).symlink_to(entry)

    def fails(self, tests: Sequence[str], workers: int = 1) -> bool:
        """
        Run fast tests until one fails.

        :param tests: files or folders
        :param workers: processes
        :raises RuntimeError: if they cannot be run
        """
        options = ["-x", "-q", "-p", "no:cacheprovider"]
        options += ["-n", str(workers)] if workers > 1 else []
        command = [sys.executable, "-m", "pytest", *options, *tests]
        paths = f"{self.folder / 'build'}{os.pathsep}{self.folder}"
        reference = os.environ.get("DREAMZOO_REFERENCE", ROOT.parent / "shared" / "reference")
        environment = {**os.environ, "PYTHONPATH": paths, "DREAMZOO_REFERENCE": str(reference)}
        try:
            run = subprocess.run(
                command,
                cwd=self.folder,
                env=environment,
                timeout=PATIENCE,
                capture_output=True,
                text=True,
            )
        except subprocess.TimeoutExpired:
            return True
        if run.returncode not in (0, FAILED):
            raise RuntimeError(f"{' '.join(command)} ended with {run.returncode}:\n{run.stdout}")
        return run.returncode == FAILED

    def notices(self, mutant: Mutant, *, whole: bool) -> bool:
        """
        Plant a mistake, run tests, take it back.

        :param mutant: the mistake
        :param whole: if its own tests do not notice it, run all fast ones
        """
        path = self.folder / mutant.file
        text, times = path.read_text(), path.stat()
        path.write_text(text.replace(mutant.old, mutant.new))
        try:
            return self.fails(mutant.tests) or (whole and self.fails(["tests"]))
        finally:
            path.write_text(text)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def check(mutants: Sequence[Mutant]) -> None:
    """
    Refuse mistakes that cannot be planted.

    :raises SystemExit: names them
    """
    wrong = []
    for mutant in mutants:
        text = (ROOT / mutant.file).read_text()
        if text.count(mutant.old) != 1 or mutant.old == mutant.new:
            wrong.append(f"{mutant.what}: {text.count(mutant.old)} places in {mutant.file}")
            continue
        if mutant.file.endswith(".py"):
            compile(text.replace(mutant.old, mutant.new), mutant.file, "exec")
        wrong += [
            f"{mutant.what}: no {test}" for test in mutant.tests if not (ROOT / test).exists()
        ]
    if wrong:
        sys.exit("Cannot be planted:\n  " + "\n  ".join(wrong))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", default="", help="mistakes with this in their words or file")
    parser.add_argument("--jobs", type=int, default=1, help="copies that are tested side by side")
    parser.add_argument(
        "--whole", action="store_true", help="all fast tests where its own fail not"
    )
    parser.add_argument("--check", action="store_true", help="only say whether all can be planted")
    parser.add_argument(
        "--out", type=pathlib.Path, help="file of results, gone on with if it exists"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    mutants = [m for m in MUTANTS if args.only in m.what or args.only in m.file]
    check(mutants)
    if args.check:
        print(f"{len(mutants)} mistakes can be planted.")
        return
    known: dict[str, bool] = {}
    if args.out is not None and args.out.exists():
        known = dict(json.loads(line) for line in args.out.read_text().splitlines())
    with tempfile.TemporaryDirectory() as scratch:
        copies: SimpleQueue[Copy] = SimpleQueue()
        for i in range(args.jobs):
            copy = Copy(pathlib.Path(scratch, str(i)))
            copies.put(copy)
        left = [mutant for mutant in mutants if mutant.what not in known]
        if copy.fails(sorted({test for mutant in left for test in mutant.tests}), args.jobs):
            sys.exit("Tests fail without any mistake: whatever was planted would seem noticed.")

        def test(mutant: Mutant) -> bool:
            if mutant.what in known:
                return known[mutant.what]
            copy = copies.get()
            try:
                noticed = copy.notices(mutant, whole=args.whole)
            finally:
                copies.put(copy)
            print(f"{'noticed' if noticed else 'UNNOTICED':9}  {mutant.what}", flush=True)
            if args.out is not None:
                with args.out.open("a") as file:
                    file.write(json.dumps([mutant.what, noticed]) + "\n")
            return noticed

        with ThreadPoolExecutor(args.jobs) as pool:
            results = list(pool.map(test, mutants))
    print(f"{sum(results)} of {len(results)} noticed, {100 * sum(results) / len(results):.1f} %.")
    for mutant, noticed in zip(mutants, results, strict=True):
        if not noticed:
            print(f"  not noticed: {mutant.what} ({mutant.file}). {mutant.unnoticed}")


if __name__ == "__main__":
    main()
