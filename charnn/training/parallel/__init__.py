"""A step's work shared out: groups of lanes, and the workers that read them."""
