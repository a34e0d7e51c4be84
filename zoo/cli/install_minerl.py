"""
Install a working copy of minerl 0.4.4, which pip alone cannot.

    pip install "dreamzoo[minecraft]"
    dreamzoo install-minerl
    dreamzoo install-minerl --game MalmoMod-0.37.0-fat.jar

minerl's own installation compiles Minecraft, with Java 8 and downloads from places some of which
are gone. This command takes the sources of the environments from the package index (70 MB), lets
them run on Gymnasium and NumPy 2, and installs them with pip, under the version 0.4.4+dreamzoo.

The game does not come with them. Where minerl 0.4.4 was once compiled, it lies in the package, as
Malmo/Minecraft/build/libs/MalmoMod-0.37.0-fat.jar: --game adds it to the copy. Without it,
make_minecraft(port=...) plays a game that runs already.
"""

import pathlib
import tempfile

from dreamzoo.cli.arguments import make_parser
from dreamzoo.envs.minecraft.install import VERSION, download, install, make_wheel


def main(argv: list[str] | None = None) -> None:
    parser = make_parser("install-minerl", __doc__)
    parser.add_argument(
        "--sdist", type=pathlib.Path, help="minerl-0.4.4.tar.gz that is here already"
    )
    parser.add_argument(
        "--game", type=pathlib.Path, help="MalmoMod-0.37.0-fat.jar that was compiled elsewhere"
    )
    args = parser.parse_args(argv)
    for given in (args.sdist, args.game):
        if given is not None and not given.is_file():
            parser.error(f"there is no file {given}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            sdist = args.sdist or download(pathlib.Path(folder))
            install(make_wheel(sdist, pathlib.Path(folder), args.game))
        except (RuntimeError, ValueError) as error:
            parser.error(str(error))
    has_game = "with the game" if args.game else "without a game of its own"
    print(f"minerl {VERSION} is installed, {has_game}.")
