"""What all agents share: the Stable-Baselines3 side."""
