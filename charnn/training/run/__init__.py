"""A run: begun, resumed, trained, measured."""
