"""
A working copy of minerl 0.4.4, which no longer installs.

Its only release is source code. Installing it compiles the game, with Java 8 and downloads, and its
gym before 0.20 does not build with today's setuptools. What the environment needs of it runs on
Gymnasium and NumPy 2 after the few changes below; this module packs that as a wheel.
"""

import hashlib
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path

#: The command that installs all that can be had; the game itself is another matter.
INSTALL = 'pip install "dreamzoo[minecraft]" && dreamzoo install-minerl'
#: Of the working copy, a version of its own: what follows the plus is not minerl's.
VERSION = "0.4.4+dreamzoo"
#: Where the game lies in the package, as minerl's own installation puts it there.
GAME = "minerl/Malmo/Minecraft/build/libs/MalmoMod-0.37.0-fat.jar"

_SDIST = "minerl-0.4.4"
_SHA256 = "8cdaefade9eac20177044cb87c009fe5b539ef7dd74c59f4103a8b161ae19580"
#: Left out: recorded games and their players, which need much that the environment does not.
_PARTS = re.compile(r"minerl/(env|herobraine|utils|Malmo)/.+(?<!\.pyc)$")
#: Patterns, and what takes the place of what they find.
_CHANGES = (
    (r"^( *)import gym$", r"\1import gymnasium as gym"),
    (r"^( *)import gym\.", r"\1import gymnasium."),
    (r"^( *)from gym\b", r"\1from gymnasium"),
    (r"\bnp\.(bool|int|float|object|str)\b", r"\1"),  # names that NumPy has given up
    (r"^ +self\.shape = \(\)\n", ""),  # Gymnasium's Discrete has it already, and keeps it
    (r"\blow=False, high=True\b", "low=0, high=1"),
    (r"\.setDaemon\(True\)", ".daemon = True"),  # deprecated by Python
    (r"\bself\.np_random\.randint\(", "self.np_random.integers("),
)
#: Instead of one that imports the recorded games and registers environments of the old interface.
_INIT = '"""The environments of MineRL 0.4.4, changed to run on Gymnasium and NumPy 2."""\n'


def download(folder: Path) -> Path:
    """
    Download the sources of minerl by pip, 70 MB.

    :param folder: existing one to put them in
    :return: the file
    :raises RuntimeError: if pip fails; it has said why
    """
    options = ["--no-deps", "--no-binary", ":all:", "--dest", str(folder), "minerl==0.4.4"]
    _pip("download", *options)
    return folder / f"{_SDIST}.tar.gz"


def make_wheel(sdist: Path, folder: Path, game: Path | None = None) -> Path:
    """
    Pack the working copy as a wheel.

    :param sdist: minerl-0.4.4.tar.gz
    :param folder: existing one to put the wheel in
    :param game: MalmoMod-0.37.0-fat.jar, compiled elsewhere; None: the copy has no game, and plays
        one that runs already
    :return: the wheel
    :raises ValueError: if the file is another one
    """
    if hashlib.sha256(sdist.read_bytes()).hexdigest() != _SHA256:
        raise ValueError(f"{sdist} is not {_SDIST}.tar.gz as it was published.")
    if game is not None and not zipfile.is_zipfile(game):
        raise ValueError(f"{game} is not a jar.")
    info = f"minerl-{VERSION}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: minerl\nVersion: {VERSION}\nLicense: MIT\n"
    kind = "Wheel-Version: 1.0\nGenerator: dreamzoo\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    path = folder / f"minerl-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        record = []

        def add(name: str, data: bytes, mode: int = 0o644) -> None:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o100000 | mode) << 16  # a file; scripts stay executable
            entry.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(entry, data)
            digest = urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(data)}\n")

        with tarfile.open(sdist) as sources:
            for member in sources:
                name = member.name.removeprefix(f"{_SDIST}/")
                found = sources.extractfile(member) if _PARTS.match(name) else None
                if found is not None:
                    add(name, _changed(name, found.read()), member.mode)
            license_file = sources.extractfile(f"{_SDIST}/LICENSE")
            add(f"{info}/LICENSE", (license_file or io.BytesIO()).read())
        add("minerl/__init__.py", _INIT.encode())
        if game is not None:
            add(GAME, game.read_bytes())
        add(f"{info}/METADATA", metadata.encode())
        add(f"{info}/WHEEL", kind.encode())
        wheel.writestr(f"{info}/RECORD", "".join([*record, f"{info}/RECORD,,\n"]))
    return path


def install(wheel: Path) -> None:
    """
    Install a wheel in place of whatever minerl there is.

    :param wheel: of :func:`make_wheel`
    :raises RuntimeError: if pip fails; it has said why
    """
    _pip("install", "--no-deps", "--force-reinstall", str(wheel))


def _pip(*arguments: str) -> None:
    ended = subprocess.run([sys.executable, "-m", "pip", *arguments])
    if ended.returncode:
        raise RuntimeError(f"pip {arguments[0]} failed; what it says stands above.")


def _changed(name: str, data: bytes) -> bytes:
    if not name.endswith(".py"):
        return data
    text = data.decode().replace("\r\n", "\n")
    for pattern, new in _CHANGES:
        text = re.sub(pattern, new, text, flags=re.MULTILINE)
    return text.encode()
