"""An episode that was played: what was done, to be done again, and its pictures."""

import io
import json
import pathlib
import reprlib
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dreamzoo.common.storage.files import with_suffix
from dreamzoo.envs.errors import requires_extra
from dreamzoo.envs.rendering import film_writer
from dreamzoo.playing.controls import Controls

#: First words of a file of actions.
FORM = "dreamzoo actions 1"
#: What happens beside actions, see :class:`Event`.
EVENTS = ("here", "dreams")
#: Pictures that are kept for a video: the last ones.
MOST_PICTURES = 3_000


class Event(NamedTuple):
    """
    Something that is no action.

    :param step: number of actions before it
    :param what: ``here``: the dream begins anew in the real moment; ``dreams``: it becomes several
    :param dreams: how many dreams there are from now on
    """

    step: int
    what: str
    dreams: int


class Script(NamedTuple):
    """
    All that an episode follows from, beside model and environment.

    :param start: where the dream began: ``real``, ``initial`` or ``replay``; None: a plain list of
        actions does not say it
    :param seed: of environment and dreams
    :param dreams: their number at first
    :param actions: in replay form
    :param events: in order
    """

    start: str | None
    seed: int
    dreams: int
    actions: list[list[float]]
    events: list[Event]

    def to_json(self, controls: Controls, env: str | None = None) -> str:
        """
        Write it; actions are those that the environment takes.

        :param controls: of the action space
        :param env: name of the environment, for the reader
        """
        actions = [controls.to_env(action).tolist() for action in self.actions]
        events = [event._asdict() for event in self.events]
        return json.dumps(
            {"form": FORM, "env": env, **self._asdict(), "actions": actions, "events": events}
        )

    @classmethod
    def from_json(cls, text: str, controls: Controls) -> "Script":
        """
        Read what :meth:`to_json` has written, or a plain list of actions of the environment.

        :param text: of a file
        :param controls: of the action space
        :raises ValueError: for anything else
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ValueError(f"This is no JSON: {error}.") from None
        if isinstance(data, list):
            data = {"form": FORM, "actions": data}
        if not isinstance(data, Mapping) or data.get("form") != FORM:
            raise ValueError(
                "This is no list of actions: expected [action, action, ...], or what the button "
                "Save actions writes."
            )
        actions = data.get("actions")
        if not isinstance(actions, list) or not actions:
            raise ValueError("There are no actions in it.")
        try:
            codec = controls.codec
            given = np.asarray(actions, None if codec.is_discrete else np.float64)
            steps = codec.from_env(given).tolist()
        except (ValueError, TypeError) as error:
            raise ValueError(f"These are no actions of {controls.codec.space}: {error}") from None
        start, seed = data.get("start"), data.get("seed", 0)
        dreams, events = data.get("dreams", 1), data.get("events", [])
        try:
            read = [Event(e["step"], e["what"], e["dreams"]) for e in events]
        except (TypeError, KeyError):
            raise ValueError(
                "The events cannot be read: expected a list of objects such as "
                '{"step": 3, "what": "dreams", "dreams": 2}.'
            ) from None
        whole = [seed, dreams, *(x for e in read for x in (e.step, e.dreams))]
        if not all(type(x) is int and 0 <= x < 2**32 for x in whole):
            raise ValueError("seed, dreams and steps of events must be whole numbers from 0 on.")
        if start not in (None, "real", "initial", "replay"):
            raise ValueError(f"start={reprlib.repr(start)}: expected real, initial or replay.")
        for event in read:
            if event.what not in EVENTS or event.step > len(steps):
                what = reprlib.repr(event.what)
                raise ValueError(
                    f"The event {what} at step {event.step} cannot happen here: expected "
                    f"one of {', '.join(EVENTS)}, after at most {len(steps)} actions."
                )
        return cls(start, seed, dreams, steps, sorted(read, key=lambda event: event.step))


class Film:
    """Pictures of an episode, compressed, of which the last :data:`MOST_PICTURES` are kept."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque(maxlen=MOST_PICTURES)

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, frame: np.ndarray) -> None:
        """Keep an RGB frame, (H, W, 3) bytes."""
        self._frames.append(jpeg(frame))

    def clear(self) -> None:
        self._frames.clear()

    def save(self, path: str | pathlib.Path, fps: int) -> None:
        """
        Write all that is kept as mp4.

        :param path: of the file; ``.mp4`` is added where it has no suffix
        :param fps: frames a second
        :raises ValueError: if nothing is kept
        """
        if not self._frames:
            raise ValueError("There is nothing to save: no step has been made.")
        with requires_extra("play"):
            from PIL import Image
        path, frames = with_suffix(pathlib.Path(path), "mp4"), list(self._frames)
        sizes = [Image.open(io.BytesIO(data)).size for data in frames]  # read no more than headers
        # Dreams come and go, and the codec wants even sizes.
        width, height = (max(size) + max(size) % 2 for size in zip(*sizes, strict=True))
        with film_writer(path, fps, "play") as film:
            for data in frames:
                picture = Image.new("RGB", (width, height))
                picture.paste(Image.open(io.BytesIO(data)))
                film.append_data(np.asarray(picture))


def jpeg(frame: np.ndarray, quality: int = 90) -> bytes:
    """
    Compress a frame so that colors keep their places.

    Example:
        >>> import numpy as np
        >>> from dreamzoo.playing.record import jpeg
        >>> jpeg(np.zeros((64, 64, 3), np.uint8))[:3] == bytes([255, 216, 255])
        True

    :param frame: RGB, (H, W, 3) bytes
    :param quality: from 1 to 95
    """
    with requires_extra("play"):
        from PIL import Image
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
