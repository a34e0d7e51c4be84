"""Kernels for GPUs, written in Triton; each names the plain form that it equals."""
