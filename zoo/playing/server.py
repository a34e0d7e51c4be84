"""The page and its server: on this machine, for this machine."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any

from dreamzoo.envs.errors import requires_extra
from dreamzoo.playing.browser import MOST_BYTES, Browser, Gone, in_words
from dreamzoo.playing.session import PlaySession

with requires_extra("play"):
    import uvicorn
    from starlette.applications import Starlette
    from starlette.datastructures import Headers
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, PlainTextResponse
    from starlette.routing import Route, WebSocketRoute
    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.websockets import WebSocket, WebSocketDisconnect

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
#: Seconds until it is known that a page which is loaded again has gone before, and until what it
#: was in the midst of is over.
_SOON, _LATE = 0.5, 10.0
#: Nothing from anywhere else, and in nobody's frame.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src 'self' blob: data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}


class Guard:
    """
    Refuse requests that another site makes a browser send.

    A page from elsewhere can open sockets to this machine (its origin tells), and a name that
    somebody else owns can be made to mean 127.0.0.1 (the host that was asked for tells).

    :param app: behind the guard
    :param port: that is listened on
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self.app = app
        at = "" if port == 80 else f":{port}"  # browsers leave out that one
        self.hosts = {f"{name}{at}" for name in (HOST, "localhost")}
        self.origins = {f"http://{host}" for host in self.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind not in ("http", "websocket") or self._is_own(Headers(scope=scope), kind):
            await self.app(scope, receive, send)
        elif kind == "websocket":
            await receive()  # the request to connect
            await send({"type": "websocket.close", "code": 1008, "reason": "another origin"})
        else:
            refused = PlainTextResponse(
                f"Refused: this page is at http://{HOST} and its port only.", 403, _HEADERS
            )
            await refused(scope, receive, send)

    def _is_own(self, headers: Headers, kind: str) -> bool:
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or hosts[0] not in self.hosts:
            return False
        if not origins:  # a browser names the origin of every socket
            return kind == "http"
        return len(origins) == 1 and origins[0] in self.origins


class Theater:
    """
    Sessions of a model, one for each browser that looks on; those of browsers that left are kept.

    All steps are made in one thread, one after the other: models and pictures share their process.

    :param make_session: makes another one
    :param title: plain values that the page shows: ``agent``, ``env``
    :param browsers: at the same time, at most
    :param fps: steps a second, at first
    """

    def __init__(
        self,
        make_session: Callable[[], PlaySession],
        title: dict[str, Any],
        browsers: int = 4,
        fps: int = 15,
    ) -> None:
        self._make, self.title, self.browsers, self.fps = make_session, title, browsers, fps
        self._worker = ThreadPoolExecutor(1, "play")
        self._free: list[PlaySession] = []
        self._playing = 0
        #: Of those who play: done once the browser has gone.
        self._listening: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Make the first session, so that what is wrong is said before any browser comes."""
        self._worker.submit(self._add).result()

    def close(self) -> None:
        """Close all environments."""
        self._worker.submit(self._close).result()
        self._worker.shutdown()

    def _add(self) -> None:
        # Not returned: whoever asked for it may have gone when it is there.
        self._free.append(self._make())

    def _close(self) -> None:
        with contextlib.ExitStack() as all_of_them:
            for session in self._free:
                all_of_them.callback(session.close)

    async def work(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function where models and environments live."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, function, *args)

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[PlaySession | str]:
        """Lend a session to a browser, or say why there is none."""
        if not await self._has_place():
            one = self.browsers == 1
            play = "1 browser plays" if one else f"{self.browsers} browsers play"
            yield f"{play} already. Close {'it' if one else 'one of them'} and load again."
            return
        self._playing += 1
        session: PlaySession | str = ""
        try:
            session = await self._another()
            yield session
        finally:
            self._playing -= 1
            if isinstance(session, PlaySession):
                self._free.append(session)

    async def _has_place(self) -> bool:
        """Wait for the place of a browser that has gone, as that of a page that is loaded again."""
        came = time.monotonic()
        while self._playing >= self.browsers:
            is_leaving = any(task.done() for task in self._listening)
            if time.monotonic() - came > (_LATE if is_leaving else _SOON):
                return False
            await asyncio.sleep(0.02)
        return True

    async def _another(self) -> PlaySession | str:
        session: PlaySession | None = None
        try:
            while not self._free:  # some environments are there only once
                await self.work(self._add)
            session = self._free.pop()
            await self.work(session.make_as_new)
        except BaseException as error:
            if session is not None:
                with contextlib.suppress(Exception):  # what could not begin may not end, either
                    await asyncio.shield(self.work(session.close))
            if not isinstance(error, Exception):
                raise
            return f"No other play could be begun. {in_words(error)}"
        return session

    async def greet(self, socket: WebSocket) -> None:
        """Play with one browser until it leaves."""
        await socket.accept()
        async with self.session() as session:
            if isinstance(session, str):
                await socket.send_json({"kind": "full", "text": session})
                await socket.close(1013)
                return

            async def send(message: bytes | str) -> None:
                try:
                    if isinstance(message, str):
                        await socket.send_text(message)
                    else:
                        await socket.send_bytes(message)
                except (WebSocketDisconnect, RuntimeError, OSError) as error:
                    raise Gone from error

            browser = Browser(session, send, self.work, self.title, self.fps)
            listening = asyncio.create_task(_listen(socket, browser))
            self._listening.add(listening)
            try:
                await browser.play()
            except Gone as error:
                logger.debug("a browser went while something was sent: %s", error.__cause__)
            finally:
                listening.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await listening
                self._listening.remove(listening)


async def _listen(socket: WebSocket, browser: Browser) -> None:
    """Hand on what a browser says, and that it has gone."""
    try:
        async for text in socket.iter_text():
            browser.hear(text)
    except (KeyError, RuntimeError):
        pass  # bytes, which are no command
    browser.hear(None)


def make_app(theater: Theater, port: int) -> ASGIApp:
    """
    Make the application that a server runs.

    :param theater: holds the sessions
    :param port: that is listened on
    """
    page = files("dreamzoo.playing").joinpath("page.html").read_text("utf-8")

    async def show(_: Request) -> HTMLResponse:
        return HTMLResponse(page, headers=_HEADERS)

    routes = [Route("/", show), WebSocketRoute("/play", theater.greet)]
    return Guard(Starlette(routes=routes), port)


def listen(port: int) -> socket.socket:
    """
    Take a port of this machine, for this machine.

    :param port: 0: any that is free
    :raises OSError: if it is in use, or not to be had
    """
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
        found.listen()
    except (OSError, OverflowError) as error:
        found.close()
        raise OSError(
            f"Port {port} of {HOST} cannot be had ({error}); another program may use it. Choose "
            "another one: port=8766, --port 8766, or 0 for any that is free."
        ) from error
    return found


def make_server(theater: Theater, port: int) -> uvicorn.Server:
    """
    Make a server that is run with a socket of :func:`listen`.

    :param theater: holds the sessions
    :param port: of the socket
    """
    config = uvicorn.Config(
        make_app(theater, port),
        log_level="warning",
        lifespan="off",
        ws_max_size=MOST_BYTES,
        ws_per_message_deflate=False,  # pictures are compressed already
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config)
