"""The working copy of minerl: what changes, what is left out, and that pip takes it."""

import ast
import base64
import hashlib
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from dreamzoo.cli import install_minerl
from dreamzoo.envs.minecraft import install
from dreamzoo.envs.minecraft.install import INSTALL, VERSION, make_wheel

#: What the real sources hold that has to change, and that must not.
OLD = """import gym
import gym.spaces
from gym import spaces
from gymkhana import ramps
    import gym
class Discrete:
    def __init__(self):
        self.shape = ()
        self.kinds = [np.bool, np.int, np.float, np.int32, np.float64, np.bool_]
        self.box = Box(low=False, high=True)
        self.thread.setDaemon(True)
        return self.np_random.randint(3), random.randint(0, 3)
""".replace("\n", "\r\n")
NEW = """import gymnasium as gym
import gymnasium.spaces
from gymnasium import spaces
from gymkhana import ramps
    import gymnasium as gym
class Discrete:
    def __init__(self):
        self.kinds = [bool, int, float, np.int32, np.float64, np.bool_]
        self.box = Box(low=0, high=1)
        self.thread.daemon = True
        return self.np_random.integers(3), random.randint(0, 3)
"""
FILES = {
    "minerl/__init__.py": "import minerl.data",
    "minerl/env/malmo.py": OLD,
    "minerl/env/info.npz": "import gym\n",
    "minerl/herobraine/__pycache__/envs.cpython-37.pyc": "",
    "minerl/herobraine/hero/mission.xml.j2": "<Mission/>",
    "minerl/utils/__init__.py": "",
    "minerl/Malmo/Minecraft/launchClient.sh": "#!/bin/bash\n",
    "minerl/data/__init__.py": "import cv2",
    "minerl/viewer/__init__.py": "import pyglet",
    "setup.py": "import gym",
    "LICENSE": "MIT",
}


@pytest.fixture
def sdist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pack sources like minerl's."""
    path = tmp_path / "minerl-0.4.4.tar.gz"
    with tarfile.open(path, "w:gz") as packed:
        for name, text in FILES.items():
            member = tarfile.TarInfo(f"minerl-0.4.4/{name}")
            member.size = len(text)
            member.mode = 0o755 if name.endswith(".sh") else 0o644
            packed.addfile(member, io.BytesIO(text.encode()))
    monkeypatch.setattr(install, "_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def test_the_wheel_holds_the_environments_changed(sdist: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(make_wheel(sdist, tmp_path)) as wheel:
        names = [name for name in wheel.namelist() if name.startswith("minerl/")]
        assert sorted(names) == [
            "minerl/Malmo/Minecraft/launchClient.sh",
            "minerl/__init__.py",
            "minerl/env/info.npz",
            "minerl/env/malmo.py",
            "minerl/herobraine/hero/mission.xml.j2",
            "minerl/utils/__init__.py",
        ]
        assert wheel.read("minerl/env/malmo.py").decode() == NEW
        assert wheel.read("minerl/env/info.npz") == b"import gym\n"  # no code
        assert b"import" not in wheel.read("minerl/__init__.py")
        assert wheel.read(f"minerl-{VERSION}.dist-info/LICENSE") == b"MIT"
        record = wheel.read(f"minerl-{VERSION}.dist-info/RECORD").decode().splitlines()
        for line in record[:-1]:
            name, digest, size = line.split(",")
            data = wheel.read(name)
            encoded = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()
            assert (digest, int(size)) == ("sha256=" + encoded.rstrip("="), len(data))
        assert {line.split(",")[0] for line in record} == set(wheel.namelist())


def test_pip_installs_it_and_scripts_can_be_run(sdist: Path, tmp_path: Path) -> None:
    game = tmp_path / "MalmoMod-0.37.0-fat.jar"
    with zipfile.ZipFile(game, "w") as jar:
        jar.writestr("Main.class", "")
    wheel = make_wheel(sdist, tmp_path, game)
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*command, "--target", site, wheel], check=True, capture_output=True)
    assert (site / "minerl/Malmo/Minecraft/launchClient.sh").stat().st_mode & 0o111
    assert not (site / "minerl/utils/__init__.py").stat().st_mode & 0o111
    assert (site / install.GAME).read_bytes() == game.read_bytes()


def test_other_files_are_refused(sdist: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"other is not minerl-0.4.4.tar.gz as it was published"):
        make_wheel(other, tmp_path)
    with pytest.raises(ValueError, match="other is not a jar"):
        make_wheel(sdist, tmp_path, other)


def test_the_command_downloads_packs_and_installs(
    sdist: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls: list[list[str]] = []

    def pip(command: list[str]) -> Any:
        calls.append(command[3:])
        if command[3] == "download":
            Path(command[-2], sdist.name).write_bytes(sdist.read_bytes())
        else:
            assert zipfile.is_zipfile(command[-1])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(install.subprocess, "run", pip)
    install_minerl.main([])
    assert [call[0] for call in calls] == ["download", "install"]
    assert calls[0][1:4] == ["--no-deps", "--no-binary", ":all:"]
    assert calls[0][-1] == "minerl==0.4.4"
    assert "minerl 0.4.4+dreamzoo is installed, without a game" in capsys.readouterr().out
    install_minerl.main(["--sdist", str(sdist)])
    assert [call[0] for call in calls] == ["download", "install", "install"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sdist", "nowhere.tar.gz"], "there is no file nowhere.tar.gz"),
        (["--game", "nowhere.jar"], "there is no file nowhere.jar"),
        (["--sdist", __file__], "is not minerl-0.4.4.tar.gz"),
        ([], "pip download failed; what it says stands above"),
    ],
)
def test_what_goes_wrong_is_told_in_a_line(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed: Any = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(install.subprocess, "run", lambda command: failed)
    with pytest.raises(SystemExit):
        install_minerl.main(arguments)
    assert message in capsys.readouterr().err


def test_the_installed_copy_is_this_versions() -> None:
    pytest.importorskip("minerl", reason=f"needs {INSTALL}")
    assert version("minerl") == VERSION


def test_the_extra_brings_all_that_the_copy_imports() -> None:
    """Whatever is not Python's own, Gymnasium or NumPy, in the modules that the task needs."""
    minerl = pytest.importorskip("minerl", reason=f"needs {INSTALL}")
    folder = Path(minerl.__file__).parent
    code = (
        "import sys, minerl.env._singleagent, minerl.herobraine.hero.handlers\n"
        "print(*[m.__file__ for n, m in sys.modules.items() if n.startswith('minerl')])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = set()
    for path in said.stdout.split():
        assert folder in Path(path).parents
        for node in ast.walk(ast.parse(Path(path).read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                found.add(node.module.split(".")[0])
    found -= {*sys.stdlib_module_names, "minerl", "gymnasium", "numpy"}
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    extra = re.search(r"^minecraft = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert extra is not None
    assert found == set(re.findall(r'"(\w+)>=', extra.group(1)))
