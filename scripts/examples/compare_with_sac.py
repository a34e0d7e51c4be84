"""Compare DreamerV3 with SB3's SAC on one task: three seeds, a table and a picture."""

from pathlib import Path

from dreamzoo.benchmark.comparisons import of_envs
from dreamzoo.benchmark.many_runs import collect_all, train_all
from dreamzoo.benchmark.results import read_rows, result_table
from dreamzoo.benchmark.results.plot import plot_results


def main(budget: str = "laptop", frames: int = 20_000, seeds: int = 3) -> None:
    folder = Path("runs/compare")
    comparison = of_envs(["Pendulum-v1"], ["dreamer_v3", "sac"], budget=budget, frames=frames)
    runs = list(comparison.seeded(range(seeds), folder=folder))
    failed = train_all(runs, jobs=2)  # each in a process; called again, it goes on
    collect_all(runs, folder / "results.csv")

    rows = read_rows(folder / "results.csv")
    print(result_table(rows, comparison.frames).markdown)
    plot_results(rows, comparison.frames).savefig(folder / "curves.png")
    print(f"{len(failed)} of {len(runs)} runs failed")


# The same as a command:
#     dreamzoo benchmark run --tasks Pendulum-v1 --agents dreamer_v3 sac --frames 20000
if __name__ == "__main__":
    main()
