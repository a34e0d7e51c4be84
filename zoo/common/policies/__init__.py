"""Policies that act with a memory, and what they are made of."""
