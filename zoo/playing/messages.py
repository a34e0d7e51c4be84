"""What goes to a browser: a header in JSON with bytes behind it."""

import json
import math
from typing import Any

from dreamzoo.playing.record import jpeg
from dreamzoo.playing.session import Scene


def pack(header: dict[str, Any], parts: list[bytes]) -> bytes:
    """
    Join a header and what it tells of to one message.

    The length of the header, 4 bytes, the highest first; the header; the parts, whose ``sizes`` the
    header holds.

    Example:
        >>> from dreamzoo.playing.messages import pack, unpack
        >>> unpack(pack({"kind": "file"}, [b"ab", b"c"]))
        ({'kind': 'file', 'sizes': [2, 1]}, [b'ab', b'c'])

    :param header: plain values
    :param parts: any bytes
    """
    # Infinity and NaN are no JSON: a browser refuses the whole message.
    plain = _finite({**header, "sizes": [len(part) for part in parts]})
    text = json.dumps(plain, allow_nan=False).encode()
    return b"".join([len(text).to_bytes(4, "big"), text, *parts])


def unpack(message: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """
    Take apart what :func:`pack` has joined.

    :param message: whole
    """
    start = 4 + int.from_bytes(message[:4], "big")
    header = json.loads(message[4:start])
    parts = []
    for size in header["sizes"]:
        parts.append(message[start : start + size])
        start += size
    return header, parts


def pack_scene(scene: Scene, **more: Any) -> bytes:
    """
    Make a message of a moment: numbers, and pictures as JPEG in the order real, dreams, difference.

    :param scene: the moment
    :param more: further plain values
    """
    shown = scene.pictures
    frames = [shown.real, *shown.dreams, shown.difference]
    header = {k: v for k, v in scene._asdict().items() if k != "pictures"}
    header |= {"has_real": shown.real is not None, "has_difference": shown.difference is not None}
    images = [jpeg(frame) for frame in frames if frame is not None]
    return pack({"kind": "scene", **header, **more}, images)


def _finite(value: Any) -> Any:
    """Turn numbers that JSON does not know into null."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
