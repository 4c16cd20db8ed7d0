"""Running a trained model on NumPy, or on torch where that is asked for."""
