"""Training: schedules, the optimizer, the training step, and its execution on several devices."""
