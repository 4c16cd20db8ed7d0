"""How probable a text is: estimators of probabilities, their sums and comparison, and output formats. NumPy alone."""
