"""Dreamer V1 (Hafner et al., "Dream to control: learning behaviors by latent imagination")."""
