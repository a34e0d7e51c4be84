"""What an agent knows of the environments that it is trained in: their state, settings, visits."""
