"""Optimizers, their schedule, and averages of weights."""
