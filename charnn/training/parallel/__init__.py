"""Training steps divided among threads: groups of lanes, and the workers that process them."""
