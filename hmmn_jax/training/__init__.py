"""Training: schedules, the optimizer, the training step, and running it on many devices."""
