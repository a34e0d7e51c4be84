"""Files of agents and replays: replaced only when they are complete."""
