"""The wrappers of :mod:`dreamzoo.wrappers` for vectorised environments, under the same names."""
