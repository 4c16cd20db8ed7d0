"""Running a trained model on NumPy alone: the engine, the sampler and the scorer. torch is never imported here."""
