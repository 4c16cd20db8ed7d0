"""Choices made before training: sizes, precision, batch size and learning rate, and the timing that they depend on."""
