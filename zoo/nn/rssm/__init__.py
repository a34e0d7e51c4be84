"""Recurrent state-space models: what they have in common, and one file for each of them."""
