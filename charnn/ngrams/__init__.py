"""N-gram models over tokens: counted, smoothed, and interpolated with a network."""
