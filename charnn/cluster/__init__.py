"""Work divided over processes and machines: a text scored in parts, and training runs side by side."""
