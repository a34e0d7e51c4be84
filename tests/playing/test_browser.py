"""The page in a real browser: what a person presses moves the dream, and nothing goes wrong."""

import io
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dreamzoo import DreamerV3
from dreamzoo.playing import PlaySession
from dreamzoo.playing.reality import maker
from dreamzoo.playing.server import Theater, listen, make_server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
#: Milliseconds that a busy machine may take for anything.
PATIENCE = 120_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as client:
        browser = client.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Server:
    """The page of a pendulum, beside the real one."""

    def __init__(self, model: DreamerV3) -> None:
        make_env = maker(model, "Pendulum-v1")
        title = {"agent": "DreamerV3", "env": "Pendulum-v1"}
        self.theater = Theater(lambda: PlaySession(model, make_env), title, browsers=2)
        taken = listen(0)
        self.theater.open()
        port = taken.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}/"
        self._server = make_server(self.theater, port)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [taken]})
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(60)


@pytest.fixture
def server(pendulum: DreamerV3) -> Iterator[Server]:
    server = Server(pendulum)
    yield server
    server.stop()
    server.theater.close()


@pytest.fixture
def page(chromium: Any, server: Server) -> Iterator[Any]:
    """Open the page; whatever the browser complains of fails the test."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    wrong: list[str] = []
    page.on("console", lambda said: wrong.append(said.text) if said.type != "log" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: wrong.append(request.url))
    page.goto(server.address)
    wait(lambda: page.locator("#waits").is_visible())
    assert steps(page) == 0
    assert picture(page, "#waits")[..., 0].mean() < 128, "it is green, and nothing covers it"
    page.keyboard.press("ArrowRight")
    wait(lambda: steps(page) >= 1)
    assert not page.locator("#waits").is_visible()
    yield page
    page.close()
    assert not wrong


def wait(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE / 1000
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def steps(page: Any) -> int:
    return int(page.text_content("#count"))


def picture(page: Any, element: str) -> np.ndarray:
    """Look at what a person sees of an element."""
    return np.asarray(Image.open(io.BytesIO(page.locator(element).screenshot())).convert("RGB"))


def pause(page: Any) -> None:
    page.keyboard.press(" ")
    wait(lambda: page.text_content("#pause").startswith("Go on"))


def one_step(page: Any) -> None:
    before = steps(page)
    page.keyboard.press("n")
    wait(lambda: steps(page) == before + 1)


def actions_of(page: Any) -> list[list[float]]:
    with page.expect_download() as download:
        page.click("#save-actions")
    return json.loads(download.value.path().read_text())["actions"]


def test_keys_move_reality_and_dream(page: Any) -> None:
    pause(page)
    page.keyboard.press("r")
    wait(lambda: steps(page) == 0)
    for element in ("#real", "#dreams canvas"):
        assert picture(page, element).std() > 10, "a pendulum is seen"
    before = [picture(page, element) for element in ("#real", "#dreams canvas")]
    page.keyboard.down("ArrowRight")
    for _ in range(3):
        one_step(page)
    page.keyboard.up("ArrowRight")
    page.keyboard.down("ArrowLeft")
    one_step(page)
    page.keyboard.up("ArrowLeft")
    one_step(page)
    after = [picture(page, element) for element in ("#real", "#dreams canvas")]
    assert all((a != b).any() for a, b in zip(before, after, strict=True))
    assert actions_of(page) == [[2.0], [2.0], [2.0], [-2.0], [0.0]]
    assert page.locator("#curve-reward canvas").is_visible()
    assert picture(page, "#curve-reward canvas").std() > 1


def test_a_key_takes_over_from_the_agent_and_the_planner(page: Any) -> None:
    for pilot in ("agent", "planner", "random"):
        page.click(f"[data-pilot={pilot}]")
        wait(lambda pilot=pilot: page.text_content("#acts") == pilot)  # type: ignore[misc]
        page.keyboard.press("ArrowRight")
        wait(lambda: page.text_content("#acts") == "you")


def test_the_mouse_steers_by_slider_and_on_the_pictures(page: Any) -> None:
    pause(page)
    page.keyboard.press("r")
    wait(lambda: steps(page) == 0)
    page.locator("#dials input").fill("0.5")
    one_step(page)
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 20)
    one_step(page)
    page.mouse.up()
    one_step(page)
    np.testing.assert_allclose(actions_of(page), [[1.0], [-1.0], [0.0]], atol=0.02)


def test_dreams_multiply_and_go_on_from_here(page: Any) -> None:
    page.select_option("#count-dreams", "4")
    wait(lambda: page.locator("#dreams canvas").count() == 4)
    wait(lambda: page.locator("#curve-spread").is_visible())
    pause(page)
    page.click("#here")
    page.select_option("#count-dreams", "1")
    wait(lambda: page.locator("#dreams canvas").count() == 1)
    assert not page.locator("#message").is_visible()


def test_an_episode_is_kept_and_played_again(page: Any, tmp_path: Any) -> None:
    wait(lambda: steps(page) > 4)
    pause(page)
    with page.expect_download() as download:
        page.click("#save-video")
    assert download.value.suggested_filename == "episode.mp4"
    assert download.value.path().read_bytes()[4:8] == b"ftyp"
    with page.expect_download() as download:
        page.click("#save-actions")
    saved = tmp_path / "episode.json"
    download.value.save_as(saved)
    length = len(json.loads(saved.read_text())["actions"])
    page.set_input_files("#file", saved)
    wait(lambda: page.text_content("#acts") == "saved actions")
    wait(lambda: page.text_content("#acts") == "you")
    wait(lambda: steps(page) == length)


def test_what_was_wrong_is_said_until_the_next_command(page: Any, tmp_path: Any) -> None:
    (tmp_path / "none.json").write_text("{not json")
    page.set_input_files("#file", tmp_path / "none.json")
    wait(lambda: page.locator("#message").is_visible())
    assert "This is no JSON" in page.text_content("#message")
    page.keyboard.press("r")
    wait(lambda: steps(page) == 0)
    assert not page.locator("#message").is_visible()


def test_actions_that_are_too_long_are_not_sent(page: Any, tmp_path: Any) -> None:
    """The server would have to end the play: it takes no messages of that length."""
    pause(page)
    for size in (4 * 2**20 + 1, 4 * 2**20 - 10):
        (tmp_path / f"{size}.json").write_text("[" + "1" * (size - 2) + "]")
        page.set_input_files("#file", tmp_path / f"{size}.json")
        wait(lambda size=size: f"{size}.json is too long" in page.text_content("#message"))  # type: ignore[misc]
    assert "4.0 MiB. Up to 4 MiB can be played" in page.text_content("#message")
    one_step(page)


def test_two_pages_play_and_a_third_is_told(page: Any, chromium: Any, server: Server) -> None:
    others = [chromium.new_page() for _ in range(2)]
    for other in others:
        other.goto(server.address)
    wait(lambda: any(x.locator("#message").is_visible() for x in others))
    full = [x for x in others if x.locator("#message").is_visible()]
    assert len(full) == 1
    assert "2 browsers play already" in full[0].text_content("#message")
    for other in others:
        other.close()
    before = steps(page)
    wait(lambda: steps(page) > before + 2)


def test_the_page_says_that_the_server_has_gone(page: Any, server: Server) -> None:
    server.stop()
    wait(lambda: page.locator("#message").is_visible())
    assert "connection has ended" in page.text_content("#message")
    assert page.locator("#message button").text_content() == "Connect again"
