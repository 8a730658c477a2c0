"""Training: schedules, optimizer, the step, and how it runs on many devices."""
