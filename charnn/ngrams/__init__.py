"""N-gram models over tokens: counted, smoothed, and mixed with a network."""
