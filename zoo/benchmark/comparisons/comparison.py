"""What a comparison of agents is: the runs behind one table and one picture."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dreamzoo.benchmark.run_config import Run


@dataclass(frozen=True)
class Comparison:
    """
    Agents on tasks, all with the settings and steps that are written here.

    Example:
        >>> from pathlib import Path
        >>> from dreamzoo.benchmark.comparisons import COMPARISONS
        >>> proprio = COMPARISONS["dmc_proprio"]
        >>> [run.agent for run in proprio.seeded([0], tasks=["dmc/walker-walk"])][:2]
        ['dreamer_v3', 'dreamer_v2']

    :param about: one line
    :param frames: by tasks, as :func:`~dreamzoo.envs.make_env` names them: when the table shows the
        returns, and where the curves end
    :param window: frames before, over whose evaluations is averaged; None: see
        :func:`~dreamzoo.benchmark.results.published.window_of`
    :param runs: one for each agent and task, of any seed and folder
    """

    about: str
    frames: dict[str, int]
    window: int | None
    runs: tuple[Run, ...]

    @property
    def agents(self) -> list[str]:
        """Agents, or the labels of those that stand there more than once."""
        return list(dict.fromkeys(run.label or run.agent for run in self.runs))

    def seeded(
        self,
        seeds: Collection[int],
        *,
        tasks: Collection[str] | None = None,
        agents: Collection[str] | None = None,
        folder: Path = Path("runs"),
    ) -> Iterator[Run]:
        """
        Give the runs of some seeds, seed by seed, each with a folder of its own.

        :param seeds: of training
        :param tasks: which of them; None: all
        :param agents: which of them, or of the labels; None: all
        :param folder: above those of the runs
        :raises ValueError: for a task or an agent that is not compared
        """
        _check("task", tasks, list(self.frames))
        _check("agent", agents, self.agents)
        for seed in seeds:
            for run in self.runs:
                if tasks is not None and run.env not in tasks:
                    continue
                if agents is not None and (run.label or run.agent) not in agents:
                    continue
                yield replace(run, seed=seed, out=folder / _folder_name(run, seed))


def _check(kind: str, asked: Collection[str] | None, known: list[str]) -> None:
    unknown = sorted(set(asked or ()) - set(known))
    if unknown:
        raise ValueError(f"{kind} {unknown[0]!r} is not compared; there are {', '.join(known)}.")


def _folder_name(run: Run, seed: int) -> str:
    """Name a folder by the run alone: whatever else is compared, it is the same one."""
    parts = (run.env.replace("/", "-"), (run.label or run.agent).replace(" ", "_"), seed)
    return "-".join(map(str, parts))
