"""Train a recurrent language model on your own text, write with it, and score sentences."""

__version__ = "0.1.0"
