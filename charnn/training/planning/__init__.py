"""What is decided before training begins: sizes, speed, memory, learning rate."""
