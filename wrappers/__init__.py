"""Wrappers for dreams and real environments, in the array type of their input."""
