"""The command ``dreamzoo``; what a subcommand needs is imported when it runs."""

from dreamzoo.cli.commands import Command, run

COMMANDS = {
    "train": Command("dreamzoo.cli.train", "train an agent, evaluate it on the way, save it"),
    "evaluate": Command("dreamzoo.cli.evaluate", "play episodes with a saved agent"),
    "dream": Command("dreamzoo.cli.dream", "write videos and figures of a model's predictions"),
    "play": Command("dreamzoo.cli.play", "steer a model's dream in a browser, beside reality"),
    "inspect": Command("dreamzoo.cli.inspect", "say what a file holds, and what needs trust"),
    "report": Command(
        "dreamzoo.cli.report", "write a page about a model: training, dreams, errors"
    ),
    "compare": Command("dreamzoo.cli.compare", "compare a policy's episodes in reality and dream"),
    "attention": Command("dreamzoo.cli.attention", "show what is read from an external memory"),
    "plan": Command("dreamzoo.cli.plan", "plan in dm_control's own simulator"),
    "ppo-in-dream": Command("dreamzoo.cli.ppo_in_dream", "train an SB3 agent inside a dream"),
    "benchmark": Command("dreamzoo.cli.benchmark", "train, compare and show agents"),
    "rl_zoo": Command("dreamzoo.rl_zoo.commands", "train and play agents by RL Zoo's commands"),
    "suites": Command("dreamzoo.cli.suites", "print the benchmarks of the papers and their tasks"),
    "install-minerl": Command("dreamzoo.cli.install_minerl", "install MineRL in a form that works"),
    "scaling": Command("dreamzoo.cli.scaling", "estimate what training at larger scale needs"),
    "sizes": Command("dreamzoo.cli.sizes", "print parameter counts and memory of model sizes"),
    "bench": Command("dreamzoo.cli.bench", "measure speed: updates, dreams, plans, replay"),
}


def main(argv: list[str] | None = None) -> None:
    """
    Run the command ``dreamzoo``.

    :param argv: arguments; None: those of the process
    """
    run("dreamzoo", "World-model agents and their dreams.", COMMANDS, argv)
