"""Encoders, decoders and heads: those of DreamerV3, and those of World Models for older agents."""
