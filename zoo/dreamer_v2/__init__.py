"""DreamerV2 (Hafner et al., "Mastering Atari with discrete world models")."""
