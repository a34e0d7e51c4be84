"""
Print the commands that dreamzoo benchmark run would train by.

    dreamzoo benchmark commands --suite dmc_proprio --tasks walker-walk --agents dreamer_v3 sac
    dreamzoo benchmark commands ablations --seed 0 1
"""

import shlex

from dreamzoo.benchmark.run_config import command_line
from dreamzoo.cli.arguments import make_parser, plain_errors
from dreamzoo.cli.benchmark.choose import add_choice, choose


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("benchmark commands", __doc__)
    add_choice(parser)
    args = parser.parse_args(argv)
    with plain_errors():
        runs = choose(args).runs
    print("\n".join(shlex.join(["dreamzoo", "train", *command_line(run)]) for run in runs))
