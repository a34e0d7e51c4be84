"""
A stand-in for Minecraft with the Malmo mod: the other end of the socket that MineRL talks to.

It speaks the protocol of the mod's MalmoEnvServer: messages with their length in front, a mission
as XML, steps that are answered with a picture, a reward and the player's state as JSON. What the
player carries and how well it is follows a story that the test writes. Run as a script it is what
MineRL starts as a game.
"""

import json
import re
import socket
import struct
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

#: When it dies: before a step is answered, amid the picture, behind it, or behind the reward; or
#: it lives on and is silent, or says what nobody understands.
Death = Literal["silent", "amid the picture", "no reward", "no state", "frozen", "nonsense"]


@dataclass
class Story:
    """
    What happens in every episode.

    :param events: by step: what is then another, of ``inventory`` (counts), ``held``, ``life``,
        ``food`` and ``air``; 0 is the first observation
    :param ends: step in which the player dies
    :param death: of the game
    :param dies: step in which that happens
    :param busy: how often a mission is refused before it is taken
    """

    events: dict[int, dict[str, Any]] = field(default_factory=dict)
    ends: int | None = None
    death: Death | None = None
    dies: int | None = None
    busy: int = 0


class Malmo:
    """
    A game that listens at a port of this machine.

    :param story: what happens in it
    :param port: 0: any that is free
    """

    def __init__(self, story: Story | None = None, port: int = 0) -> None:
        self.story = story or Story()
        self.said: list[str] = []  # what was heard, long messages cut
        self.missions: list[str] = []
        self.tokens: list[str] = []
        self.commands: list[dict[str, str]] = []  # of every step
        self.exited = threading.Event()
        self._step = 0
        self._state: dict[str, Any] = {}
        self._talks: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """Die: nobody listens any more, and whoever talked hears nothing."""
        for talk in [self._listener, *self._talks]:
            with suppress(OSError):  # nobody is at the other end
                talk.shutdown(socket.SHUT_RDWR)
            talk.close()

    def _listen(self) -> None:
        while True:
            try:
                talk, _ = self._listener.accept()
            except OSError:
                return
            talk.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._talks.append(talk)
            threading.Thread(target=self._talk, args=(talk,), daemon=True).start()

    def _talk(self, talk: socket.socket) -> None:
        with talk, suppress(OSError):  # the other end has gone
            while (message := _receive(talk)) is not None:
                self.said.append(message[:60])
                self._answer(talk, message)

    def _answer(self, talk: socket.socket, message: str) -> None:
        if message.startswith("<MissionInit"):
            token = _receive(talk) or ""
            taken = self.story.busy == 0
            self.story.busy -= not taken
            if taken:
                self.missions.append(message)
                self.tokens.append(token)
                self._step, self._state = 0, {"inventory": {}, "held": "air"}
            _send(talk, struct.pack("!I", taken))
        elif message.startswith("<Peek"):
            self._live()
            _send(talk, self._picture())
            _send(talk, self._told())
            _send(talk, struct.pack("!b", 0))
        elif message.startswith("<StepClient"):
            self._step += 1
            self._play(talk, message)
        elif message.startswith("<Quit"):
            _send(talk, struct.pack("!I", 1))
        elif message.startswith("<Exit"):
            _send(talk, struct.pack("!I", 1))
            self.exited.set()
        else:
            assert message.startswith(("<MalmoEnv0.37.0/>", "<StepServer", "<Disconnect")), message

    def _play(self, talk: socket.socket, message: str) -> None:
        command = re.sub("</?StepClient0 ?>", "", message)
        words = [line.split(" ", 1) for line in command.splitlines()]
        self.commands.append({verb: rest for verb, rest in words})
        self._live()
        death = self.story.death if self._step == self.story.dies else None
        picture = self._picture()
        if death == "frozen":
            return
        if death == "amid the picture":
            talk.sendall(struct.pack("!I", len(picture)) + picture[: len(picture) // 2])
        if death in ("no reward", "no state", "nonsense", None):
            _send(talk, picture)
        if death in ("no state", "nonsense", None):
            # Of a reward the task knows nothing: what is sent here must not arrive.
            _send(talk, struct.pack("!dbb", 1000.0, self._step == self.story.ends, 1))
        if death == "nonsense":
            _send(talk, b"{")
        elif death is None:
            _send(talk, self._told())
        else:
            self.close()

    def _live(self) -> None:
        self._state |= self.story.events.get(self._step, {})

    def _picture(self) -> bytes:
        """Draw the number of the step, over a last row (sent first) that is white."""
        found = re.search(r"<Width>(\d+) *</Width>\s*<Height>(\d+)", self.missions[-1])
        assert found is not None
        width, height = map(int, found.groups())
        return b"\xff" * 3 * width + bytes([self._step % 256]) * 3 * width * (height - 1)

    def _told(self) -> bytes:
        state = self._state
        counts = [{"type": k, "quantity": n, "metadata": 0} for k, n in state["inventory"].items()]
        counts += [{"type": "air", "quantity": 0, "metadata": 0}] * (41 - len(counts))
        held = {"type": state["held"], "metadata": 0, "damage": 0, "maxDamage": 0}
        told: dict[str, Any] = {"inventory": counts, "equipped_items": {"mainhand": held}}
        told |= {"life": 20.0, "food": 20, "air": 300, "is_alive": True, "score": 0, "xp": 0}
        told["saturation"] = 5.0
        told |= {key: state[key] for key in ("life", "food", "air") if key in state}
        return json.dumps(told).encode()


def _send(talk: socket.socket, data: bytes) -> None:
    talk.sendall(struct.pack("!I", len(data)) + data)


def _receive(talk: socket.socket) -> str | None:
    header = _read(talk, 4)
    if header is None:
        return None
    data = _read(talk, struct.unpack("!I", header)[0])
    return None if data is None else data.decode()


def _read(talk: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        more = talk.recv(size - len(data))
        if not more:
            return None
        data += more
    return data


def main() -> None:
    """Start as the game does: say at which port it listens, end when it is told to."""
    game = Malmo(port=int(sys.argv[sys.argv.index("-port") + 1]))
    print("***** Start MalmoEnvServer on port", game.port)
    print("CLIENT enter state: DORMANT", flush=True)
    game.exited.wait()


if __name__ == "__main__":
    main()
