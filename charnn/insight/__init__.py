"""Looking into a model and what it writes: data first, pictures last."""
