"""A run: create or resume it, train, and compute its final metrics."""
