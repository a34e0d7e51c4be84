"""The command ``dreamzoo bench``."""

from dreamzoo.cli.commands import Command, run

COMMANDS = {
    "train": Command("dreamzoo.cli.bench.train", "steps of a whole training, by its parts"),
    "update": Command("dreamzoo.cli.bench.update", "one update of DreamerV3, one step of acting"),
    "ranks": Command("dreamzoo.cli.bench.ranks", "one update of several ranks together"),
    "remote": Command("dreamzoo.cli.bench.remote", "slow environments in worker processes"),
    "sac": Command("dreamzoo.cli.bench.sac", "one update of DiscreteSAC and of SB3's SAC"),
    "dream": Command("dreamzoo.cli.bench.dream", "steps of dreams beside the real environment"),
    "play": Command("dreamzoo.cli.bench.play", "frames of dreamzoo play"),
    "planner": Command("dreamzoo.cli.bench.planner", "one plan of PlaNet"),
    "replay": Command("dreamzoo.cli.bench.replay", "windows from the replay"),
    "files": Command("dreamzoo.cli.bench.files", "saving and loading a replay"),
}


def main(argv: list[str] | None = None) -> None:
    """
    Run ``dreamzoo bench``.

    :param argv: arguments; None: those of the process
    """
    run("dreamzoo bench", "Measure speed; one JSON line per measurement.", COMMANDS, argv)
