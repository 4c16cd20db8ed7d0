"""How probable a text is: who gives the probabilities, how they are summed, compared and written down. NumPy alone."""
