"""One browser's play: its commands, its clock, what it is sent."""

import asyncio
import json
import logging
import pathlib
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from dreamzoo.playing.messages import pack, pack_scene
from dreamzoo.playing.session import MOST_DREAMS, PlaySession, Scene

logger = logging.getLogger(__name__)

#: Moments that may be on their way to a browser: more would be seen late.
ON_THE_WAY = 3
#: Steps a second at most.
MOST_FPS = 60
#: Longest command of a browser: a script of many steps, in bytes.
MOST_BYTES = 4 * 2**20
#: Commands that wait at most; of more the oldest are forgotten.
_WAITING = 256

#: Sends bytes, or a text.
Send = Callable[[bytes | str], Awaitable[None]]
#: Runs a function where models and environments live.
Work = Callable[..., Awaitable[Any]]


class Gone(Exception):
    """The browser is not there any more."""


class Browser:
    """
    Plays one session for one browser, as fast as it was told and as the browser can follow.

    :param session: of this browser alone
    :param send: to the browser
    :param work: runs steps, which take long, elsewhere
    :param title: what is played
    :param fps: steps a second, at first
    """

    def __init__(
        self, session: PlaySession, send: Send, work: Work, title: dict[str, Any], fps: int
    ) -> None:
        self.session, self._send, self._work, self._title = session, send, work, title
        self.fps, self.is_paused = fps, False
        #: Whether the episode has yet to begin, with the first action of a person.
        self._waits = False
        self._action: list[float] = session.controls.rest
        self._commands: asyncio.Queue[str | None] = asyncio.Queue(_WAITING)
        self._sent = self._seen = 0
        self._due = 0.0
        self._times: deque[float] = deque(maxlen=30)

    # ------------------------------------------------------------------ the loop

    def hear(self, command: str | None) -> None:
        """
        Take a command; it is obeyed between two steps.

        :param command: JSON; None: the browser has gone
        """
        if self._commands.full():  # the newest say where hand and eye are
            self._commands.get_nowait()
        self._commands.put_nowait(command)

    async def play(self) -> None:
        """Play until the browser has gone."""
        await self._say({"kind": "hello", **self._title, **self._described()})
        await self._guarded(self._do_reset)
        while True:
            command = await self._next_command()
            if command is None:
                return
            if command:
                await self._obey(command)
            else:
                self._due = max(self._due + 1 / self.fps, time.monotonic())
                await self._guarded(self._step)

    async def _next_command(self) -> str | None:
        """Return the next command, or an empty one once it is time for a step."""
        if not self._commands.empty():
            return self._commands.get_nowait()
        waits = self.is_paused or self._waits or self._sent - self._seen >= ON_THE_WAY
        pause = None if waits else max(self._due - time.monotonic(), 0.001)
        try:
            return await asyncio.wait_for(self._commands.get(), pause)
        except asyncio.TimeoutError:
            return ""

    async def _guarded(self, act: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Tell the browser what goes wrong, and pause."""
        try:
            await act(*args)
        except Gone:
            raise
        except Exception as error:  # an environment may raise anything
            self.is_paused = True
            await self._say({"kind": "error", "text": in_words(error)})
            await self._say_state()

    async def _obey(self, text: str) -> None:
        try:
            command = json.loads(text)
            do = getattr(self, f"_do_{command.pop('do')}")
        except (ValueError, AttributeError, KeyError, TypeError):
            known = sorted(name[4:] for name in dir(self) if name.startswith("_do_"))
            said = f"{text[:80]!r} is no command; expected {{'do': ...}} with one of {known}."
            await self._say({"kind": "error", "text": said})
            return
        await self._guarded(_checked, do, command)

    # ------------------------------------------------------------------ commands

    async def _do_act(self, action: Any) -> None:
        self._action = self.session.controls.read(action)[0].tolist()
        if self._waits or self.session.pilot != "person":
            self._waits, self.session.pilot = False, "person"
            await self._say_state()

    async def _do_seen(self, n: Any) -> None:
        if type(n) is int and self._seen <= n <= self._sent:
            self._seen = n

    async def _do_pause(self, on: Any) -> None:
        self.is_paused, self._waits = bool(on), False
        self._due = time.monotonic()
        await self._say_state()

    async def _do_step(self) -> None:
        self.is_paused, self._waits = True, False
        self._times.clear()  # how fast a person presses is no rate
        await self._step()
        await self._say_state()

    async def _do_reset(self, start: Any = None, seed: Any = None) -> None:
        if seed is not None and (type(seed) is not int or not 0 <= seed < 2**32):
            raise ValueError(f"seed={seed!r} must be a whole number from 0 to 2**32 - 1.")
        if self.session.pilot == "script":
            self.session.pilot = "person"
        await self._show(await self._work(self.session.reset, start, seed))
        # Some episodes would be over before a hand has found its key.
        self._action, self._waits = self.session.controls.rest, self.session.pilot == "person"
        await self._say_state()

    async def _do_here(self) -> None:
        await self._show(await self._work(self.session.go_on_from_here))

    async def _do_dreams(self, n: Any) -> None:
        await self._show(await self._work(self.session.set_dreams, n))
        await self._say_state()

    async def _do_pilot(self, name: Any) -> None:
        if name == "script":
            raise ValueError("A script acts once it is opened.")
        self.session.pilot, self._waits = name, False
        await self._say_state()

    async def _do_speed(self, fps: Any) -> None:
        if type(fps) is not int or not 1 <= fps <= MOST_FPS:
            raise ValueError(f"{fps=} must be a whole number from 1 to {MOST_FPS}.")
        self.fps = fps
        await self._say_state()

    async def _do_script(self, text: Any) -> None:
        if not isinstance(text, str):
            raise ValueError(f"A script is a text, not {text!r}.")
        await self._show(await self._work(self.session.play_script, text))
        self.is_paused = self._waits = False
        await self._say_state()

    async def _do_save_actions(self) -> None:
        text = self.session.script.to_json(self.session.controls, self._title.get("env"))
        await self._send(pack({"kind": "file", "name": "episode.json"}, [text.encode()]))

    async def _do_save_video(self) -> None:
        # Not where models are: others play on meanwhile. This browser waits, and its film with it.
        data = await asyncio.to_thread(self._video)
        await self._send(pack({"kind": "file", "name": "episode.mp4"}, [data]))

    def _video(self) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "episode.mp4"
            self.session.save_video(path, self.fps)
            return path.read_bytes()

    # ------------------------------------------------------------------ what is sent

    async def _step(self) -> None:
        pilot = self.session.pilot
        scene = await self._work(self.session.step, self._action)
        self._times.append(time.monotonic())
        await self._show(scene)
        if self.session.pilot != pilot:  # a script has come to its end
            self.is_paused = True
            await self._say_state()

    async def _show(self, scene: Scene) -> None:
        self._sent += 1
        more = {"n": self._sent, "rate": self._rate(), "pilot": self.session.pilot}
        await self._send(await self._work(lambda: pack_scene(scene, **more)))

    def _rate(self) -> float | None:
        """Return how many steps a second there were lately."""
        if len(self._times) < 2:
            return None
        return round((len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-6), 1)

    def _described(self) -> dict[str, Any]:
        return {
            "controls": self.session.controls.describe(),
            "starts": self.session.starts,
            "pilots": self.session.pilots,
            "has_reality": self.session.reality is not None,
            "most_dreams": MOST_DREAMS,
            "most_fps": MOST_FPS,
            "most_bytes": MOST_BYTES,
        }

    async def _say_state(self) -> None:
        state = {
            "pilot": self.session.pilot,
            "paused": self.is_paused,
            "waits": self._waits,
            "dreams": self.session.dreams,
            "seed": self.session.seed,
            "fps": self.fps,
        }
        await self._say({"kind": "state", **state})

    async def _say(self, message: dict[str, Any]) -> None:
        await self._send(json.dumps(message))


def in_words(error: Exception) -> str:
    """
    Say in one line what went wrong; of what nobody expects the program's log has the way there.

    :param error: that was raised
    """
    said = " ".join(str(error).split())
    if isinstance(error, (ValueError, TypeError, RuntimeError, OSError, ImportError)):
        return said
    logger.error("while a dream was played", exc_info=error)
    return f"{type(error).__name__}: {said}"


async def _checked(do: Callable[..., Awaitable[None]], arguments: Mapping[str, Any]) -> None:
    """Call a command with what the browser has sent; other arguments than its own are an error."""
    await do(**arguments)
