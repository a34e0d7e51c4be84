"""What things cost: updates, acting, dreams, plans, the replay."""
