"""What :func:`dreamzoo.benchmark.many_runs.train_all` is made of."""
