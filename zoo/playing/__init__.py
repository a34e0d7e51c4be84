"""A dream that a person steers, beside the real environment."""

from dreamzoo.playing.session import PlaySession, Scene

__all__ = ["PlaySession", "Scene"]
