"""Environments in Ray's worker processes, on this machine or on others of a cluster."""
