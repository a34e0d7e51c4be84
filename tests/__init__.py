"""Tests; a package of its own, which is found before those that others install as ``tests``."""
