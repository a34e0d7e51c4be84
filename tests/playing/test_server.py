"""The page is for this machine alone, and whatever a browser does, others play on."""

import asyncio
import contextlib
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

import dreamzoo
from dreamzoo import DreamerV3
from dreamzoo.cli import main
from dreamzoo.playing import PlaySession
from dreamzoo.playing.messages import unpack
from dreamzoo.playing.reality import maker
from dreamzoo.playing.server import Theater, listen, make_app, make_server

PORT = 8765
HERE = {"host": f"127.0.0.1:{PORT}"}
OWN = {**HERE, "origin": f"http://127.0.0.1:{PORT}"}


def theater_of(model: Any, env: str | None = None, **kwargs: Any) -> Theater:
    make_env = None if env is None else maker(model, env)
    title = {"agent": "DreamerV3", "env": env}
    return Theater(lambda: PlaySession(model, make_env), title, **kwargs)


@pytest.fixture
def client(cartpole: DreamerV3) -> Iterator[TestClient]:
    theater = theater_of(cartpole, browsers=2, fps=60)
    theater.open()
    with TestClient(make_app(theater, PORT), base_url=f"http://127.0.0.1:{PORT}") as client:
        yield client
    theater.close()


class Player:
    """What a page does, without a page."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.scenes: list[dict[str, Any]] = []

    def send(self, do: str, **more: Any) -> None:
        self.socket.send_text(json.dumps({"do": do, **more}))

    def receive(self) -> tuple[dict[str, Any], list[bytes]]:
        message = self.socket.receive()
        if message.get("text") is not None:
            return json.loads(message["text"]), []
        header, parts = unpack(message["bytes"])
        if header["kind"] == "scene":
            self.scenes.append(header)
            self.send("seen", n=header["n"])
        return header, parts

    def wait_for(self, kind: str, **expected: Any) -> tuple[dict[str, Any], list[bytes]]:
        """Receive until a message of a kind says something."""
        for _ in range(200):
            header, parts = self.receive()
            if header["kind"] == kind and expected.items() <= header.items():
                return header, parts
        raise AssertionError(f"no {kind} with {expected}")


@contextlib.contextmanager
def playing(client: TestClient) -> Iterator[Player]:
    with client.websocket_connect("/play", headers=OWN) as socket:
        yield Player(socket)


def test_the_page_needs_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert not re.search(r"https?:|src=|url\(|@import|import\(", page.text)
    assert re.findall(r"wss?://\S*", page.text) == ["ws://${location.host}/play`);"]
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert len(page.text.splitlines()) <= 500


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:8765"},
        {"host": "127.0.0.1"},
        {"host": "127.0.0.1:80"},
        {"host": "127.0.0.1.evil.example:8765"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "https://127.0.0.1:8765"},
        {"origin": "http://127.0.0.1:8765", "host": "evil.example:8765"},
    ],
    ids=str,
)
def test_other_hosts_and_origins_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    """A foreign page, or a foreign name for this machine, sees and steers nothing."""
    page = client.get("/", headers=headers)
    assert page.status_code == 403
    assert "Refused" in page.text
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        client.websocket_connect("/play", headers={**OWN, **headers}),
    ):
        pass
    assert refused.value.code == 1008


def test_a_socket_without_an_origin_is_refused(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/play", headers=HERE):
        pass


def test_localhost_is_this_machine(client: TestClient) -> None:
    here = {"host": f"localhost:{PORT}", "origin": f"http://localhost:{PORT}"}
    assert client.get("/", headers=here).status_code == 200
    with client.websocket_connect("/play", headers=here) as socket:
        assert Player(socket).receive()[0]["kind"] == "hello"


def test_every_button_does_what_it_says(client: TestClient) -> None:
    with playing(client) as player:
        hello, _ = player.receive()
        assert hello["pilots"] == ["person", "agent", "random", "script"]
        assert hello["starts"] == ["initial", "replay"]
        assert hello["most_bytes"] == 4 * 2**20
        player.wait_for("scene", step=0)
        player.send("act", action=[1])
        player.wait_for("scene", action=[1])
        player.send("pilot", name="agent")
        player.wait_for("state", pilot="agent")
        player.send("act", action=[0])  # takes over
        player.wait_for("state", pilot="person")
        player.send("speed", fps=30)
        player.wait_for("state", fps=30)
        player.send("pause", on=True)
        player.wait_for("state", paused=True)
        player.send("dreams", n=3)
        _, parts = player.wait_for("scene")
        assert len(parts) == 3
        player.send("reset", start="initial", seed=5)
        player.wait_for("state", seed=5, paused=True)
        assert player.scenes[-1]["step"] == 0
        for step in (1, 2):
            player.send("step")
            player.wait_for("scene", step=step)
        player.send("save_actions")
        header, (data,) = player.wait_for("file")
        assert (header["name"], json.loads(data)["actions"]) == ("episode.json", [0, 0])
        player.send("save_video")
        header, (video,) = player.wait_for("file")
        assert (header["name"], video[4:8]) == ("episode.mp4", b"ftyp")
        player.send("script", text=data.decode())
        player.wait_for("state", pilot="script")
        player.wait_for("state", pilot="person", paused=True)
        assert player.scenes[-1]["step"] == 2


def test_an_episode_waits_for_the_first_action_of_a_person(client: TestClient) -> None:
    with playing(client) as player:
        player.wait_for("state", waits=True)
        time.sleep(0.2)
        player.send("dreams", n=2)
        player.wait_for("state", dreams=2, waits=True)
        assert {scene["step"] for scene in player.scenes} == {0}
        player.send("act", action=[1])
        player.wait_for("state", waits=False)
        player.wait_for("scene", step=2)
        player.send("reset")
        player.wait_for("state", waits=True)
        assert player.scenes[-1]["step"] == 0
        player.send("step")
        scene, _ = player.wait_for("scene", step=1)
        assert scene["action"] == [0], "at rest, whatever was done before"
        player.send("pilot", name="agent")
        player.send("pause", on=False)
        player.send("reset")
        player.wait_for("state", waits=False)
        player.wait_for("scene", step=2)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("nonsense", "is no command"),
        ("[]", "is no command"),
        ('{"do": "_step"}', "is no command"),
        ('{"do": "close"}', "is no command"),
        ('{"do": "act"}', "action"),
        ('{"do": "act", "action": [9]}', "no action here"),
        ('{"do": "act", "action": [NaN]}', "no action here"),
        ('{"do": "step", "n": 3}', "unexpected"),
        ('{"do": "reset", "start": "real"}', "no start here"),
        ('{"do": "reset", "start": "replay"}', "replay"),
        ('{"do": "reset", "seed": -1}', "seed=-1"),
        ('{"do": "here"}', "no real moment"),
        ('{"do": "dreams", "n": 99}', "from 1 to 8"),
        ('{"do": "pilot", "name": "planner"}', "cannot act"),
        ('{"do": "pilot", "name": "script"}', "opened"),
        ('{"do": "speed", "fps": 0}', "from 1 to 60"),
        ('{"do": "script", "text": 3}', "is a text"),
        ('{"do": "save_video"}', "nothing to save"),
    ],
)
def test_wrong_commands_are_answered_and_the_play_goes_on(
    client: TestClient, command: str, said: str
) -> None:
    with playing(client) as player:
        player.wait_for("scene", step=0)
        player.send("pause", on=True)
        player.wait_for("state", paused=True)
        player.send("reset")
        player.wait_for("state", paused=True)
        player.socket.send_text(command)
        assert said in player.wait_for("error")[0]["text"]
        player.send("step")
        player.wait_for("scene", step=1)


def test_browsers_play_for_themselves_and_one_too_many_is_told(client: TestClient) -> None:
    with playing(client) as one, playing(client) as two:
        one.wait_for("scene", step=0)
        two.wait_for("scene", step=0)
        two.send("act", action=[0])
        one.send("pause", on=True)
        one.wait_for("state", paused=True)
        two.wait_for("scene", step=one.scenes[-1]["step"] + 3)
        with playing(client) as three:
            message, _ = three.receive()
            assert (message["kind"], message["text"][:9]) == ("full", "2 browser")
    with playing(client) as again:
        again.send("pilot", name="agent")
        again.wait_for("scene", step=3)


def test_a_video_that_is_made_stops_nobody_else(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    others_play, in_time = threading.Event(), []

    def save(_: PlaySession, path: Any, fps: int) -> None:
        in_time.append(others_play.wait(20))
        path.write_bytes(b"video")

    monkeypatch.setattr(PlaySession, "save_video", save)
    with playing(client) as one, playing(client) as two:
        two.wait_for("scene", step=0)
        one.send("save_video")
        two.send("act", action=[0])
        two.wait_for("scene", step=2)
        others_play.set()
        assert one.wait_for("file")[1] == [b"video"]
    assert in_time == [True]


def test_the_next_browser_inherits_nothing(client: TestClient) -> None:
    for _ in range(2):
        with playing(client) as player:
            state, _ = player.wait_for("state")
            assert (state["dreams"], state["seed"], state["pilot"]) == (1, 0, "person")
            player.send("dreams", n=3)
            player.send("reset", seed=7)
            player.send("pilot", name="agent")
            player.wait_for("state", dreams=3, seed=7, pilot="agent")


def test_a_session_that_cannot_begin_anew_is_closed_and_the_browser_told(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Any] = []

    def fail(_: PlaySession) -> None:
        raise RuntimeError("the simulator is gone")

    def fail_to_close(session: PlaySession) -> None:
        closed.append(session)
        fail(session)

    with playing(client) as player:
        player.wait_for("state")
    with monkeypatch.context() as patch:
        patch.setattr(PlaySession, "make_as_new", fail)
        patch.setattr(PlaySession, "close", fail_to_close)
        with playing(client) as player:
            message, _ = player.receive()
        assert "No other play could be begun. " in message["text"]
        assert "the simulator is gone" in message["text"]
    assert len(closed) == 1
    with playing(client) as player:
        player.wait_for("state")


def test_a_session_that_nobody_waits_for_any_more_is_kept_and_closed(
    cartpole: DreamerV3, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    session, closed = PlaySession(cartpole), list[Any]()
    monkeypatch.setattr(session, "close", lambda: closed.append(session))

    def make() -> PlaySession:
        begun.set()
        assert go_on.wait(60)
        return session

    theater = Theater(make, {"agent": "DreamerV3", "env": None})

    async def come_and_go() -> None:
        async def come() -> None:
            async with theater.session():
                pass

        coming = asyncio.create_task(come())
        await asyncio.to_thread(begun.wait, 60)
        coming.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await coming

    asyncio.run(come_and_go())
    threading.Timer(0.2, go_on.set).start()  # it is not there yet when all is closed
    theater.close()
    assert closed == [session]


def test_a_page_that_is_loaded_again_waits_for_its_own_place(
    cartpole: DreamerV3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was in the midst of takes its time; somebody else's place is not waited for."""
    theater = theater_of(cartpole, browsers=1)
    theater.open()
    app = make_app(theater, PORT)
    step = PlaySession.step
    begun = threading.Event()

    def slow(*args: Any) -> Any:
        begun.set()
        time.sleep(0.9)
        return step(*args)

    monkeypatch.setattr(PlaySession, "step", slow)
    with (
        TestClient(app, base_url=f"http://127.0.0.1:{PORT}") as client,
        contextlib.ExitStack() as stack,
    ):
        socket = stack.enter_context(client.websocket_connect("/play", headers=OWN))
        Player(socket).send("step")
        assert begun.wait(60)
        socket.close()
        again = stack.enter_context(playing(client))
        assert again.receive()[0]["kind"] == "hello"
        message, _ = stack.enter_context(playing(client)).receive()
        assert message["text"] == "1 browser plays already. Close it and load again."
    theater.close()


def test_an_environment_that_fails_amid_an_episode_is_said_and_begins_again(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it raises: an assertion is no error of the page, but nor is it a reason to end."""
    with playing(client) as player:
        player.wait_for("scene", step=0)
        with monkeypatch.context() as broken:
            broken.setattr(PlaySession, "step", lambda *_: (_ for _ in ()).throw(KeyError("pole")))
            player.send("step")
            assert player.wait_for("error")[0]["text"] == "KeyError: 'pole'"
        player.send("step")
        player.wait_for("scene", step=1)


def test_an_environment_that_is_there_only_once_is_said(cartpole: DreamerV3) -> None:
    left = [PlaySession(cartpole)]
    theater = Theater(lambda: left.pop(), {"agent": "DreamerV3", "env": None})
    theater.open()
    with (
        TestClient(make_app(theater, PORT), base_url=f"http://127.0.0.1:{PORT}") as client,
        playing(client) as one,
        playing(client) as two,
    ):
        one.wait_for("scene", step=0)
        message, _ = two.receive()
        assert message["kind"] == "full"
        assert "No other play could be begun. IndexError: pop from empty list" in message["text"]
        one.send("step")
        one.wait_for("scene", step=1)
    theater.close()


def test_a_browser_that_does_not_look_is_not_run_ahead_of(client: TestClient) -> None:
    with client.websocket_connect("/play", headers=OWN) as socket:
        player = Player(socket)
        player.send("act", action=[1])
        player.send = lambda *_, **__: None  # type: ignore[method-assign]
        player.wait_for("scene", step=2)
        time.sleep(0.3)
        del player.send
        player.send("pause", on=True)
        player.wait_for("state", paused=True)
        assert player.scenes[-1]["step"] == 2


# ---------------------------------------------------------------------- a real server


@pytest.fixture
def server(cartpole: DreamerV3) -> Iterator[int]:
    """Run a server on a free port, beside the real CartPole."""
    taken = listen(0)
    theater = theater_of(cartpole, "CartPole-v1", browsers=2, fps=60)
    theater.open()
    port = taken.getsockname()[1]
    server = make_server(theater, port)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
    thread.start()
    yield port
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive(), "the server hangs"
    theater.close()


def _connect(port: int, origin: str | None = None) -> Any:
    url = f"ws://127.0.0.1:{port}/play"
    named = Origin(origin or f"http://127.0.0.1:{port}")
    return connect(url, origin=named, open_timeout=60)


def _first_scene(socket: Any) -> dict[str, Any] | None:
    """Wait for the first picture; None where there is no place."""
    while isinstance(message := socket.recv(60), str):
        if json.loads(message)["kind"] == "full":
            return None
    return unpack(message)[0]


def test_a_browser_that_disappears_disturbs_nobody(server: int) -> None:
    """In the middle of a message, without a word, many times: its place is free again."""
    with _connect(server) as stays:
        scene = _first_scene(stays)
        assert scene is not None
        assert scene["reality"] == "runs"
        for _ in range(3):
            _disappear(server)
        stays.send(json.dumps({"do": "seen", "n": 1}))
        stays.send(json.dumps({"do": "pause", "on": True}))
        while '"paused": true' not in str(stays.recv(60)):
            pass


def _disappear(port: int) -> None:
    """Play as soon as there is a place, and reset the connection amid what is sent."""
    for _ in range(100):
        with contextlib.suppress(ConnectionClosed, OSError), _connect(port) as gone:
            if _first_scene(gone) is not None:
                gone.send(json.dumps({"do": "pilot", "name": "agent"}))
                gone.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1" + b"\0" * 7)
                gone.socket.shutdown(socket.SHUT_RDWR)
                return
        time.sleep(0.1)
    raise AssertionError("the place of a browser that has gone is still taken")


def test_a_real_server_refuses_other_origins(server: int) -> None:
    with pytest.raises((InvalidStatus, ConnectionClosed)), _connect(server, "http://evil.example"):
        pass


def test_bytes_and_long_messages_end_one_play_only(server: int) -> None:
    for message in (b"bytes", "x" * (5 * 2**20)):
        with _connect(server) as bad, contextlib.suppress(ConnectionClosed):
            bad.send(message)
            for _ in range(100):
                bad.recv(60)
    with _connect(server) as good:
        assert _first_scene(good) is not None


# ---------------------------------------------------------------------- the command


@pytest.fixture
def saved(cartpole: DreamerV3, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cartpole.save("m.zip")
    (tmp_path / "text.zip").write_text("no zip")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.zip"], "There is no file none.zip"),
        (["text.zip"], "text.zip is not of a form that is safe"),
        (["m.zip", "--env", "Pendulum-v1"], "spaces do not match"),
        (["m.zip", "--env", "CartPol-v1"], "CartPol"),
        (["m.zip", "--port", "70000"], "Port 70000"),
        (["m.zip", "--port", "-1"], "port=-1"),
        (["m.zip", "--dreams", "9"], "dreams=9"),
        (["m.zip", "--fps", "1000"], "fps=1000"),
        (["m.zip", "--replay", "none.npz"], "none.npz"),
    ],
    ids=lambda x: " ".join(x)[:40],
)
@pytest.mark.usefixtures("saved")
def test_what_cannot_be_played_is_said_in_one_line(arguments: list[str], said: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["play", "--port", "0", *arguments])  # the usual one may be in use
    assert said in str(ended.value.code)
    assert "\n" not in str(ended.value.code)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dreamzoo.playing.server", "dreamzoo.playing.start"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(SystemExit, match=r"uvicorn is not installed.*dreamzoo\[play\]"):
        main(["play", "m.zip"])


@pytest.mark.usefixtures("saved")
def test_a_port_in_use_is_said() -> None:
    taken = listen(0)
    port = taken.getsockname()[1]
    with pytest.raises(SystemExit, match=f"Port {port} of 127.0.0.1 cannot be had"):
        main(["play", "m.zip", "--port", str(port)])
    taken.close()


def test_an_environment_that_is_made_serves_one_browser(
    cartpole: DreamerV3, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[Theater] = []

    class Server:
        def run(self, sockets: list[socket.socket]) -> None:
            assert sockets[0].getsockname()[0] == "127.0.0.1"
            raise KeyboardInterrupt

    def make(theater: Theater, port: int) -> Server:
        made.append(theater)
        return Server()

    monkeypatch.setattr("dreamzoo.playing.start.make_server", make)
    dreamzoo.play(cartpole, cartpole.get_env(), port=0)
    dreamzoo.play(cartpole, "CartPole-v1", port=0)
    assert [theater.browsers for theater in made] == [1, 4]
    assert "http://127.0.0.1:" in capsys.readouterr().out
