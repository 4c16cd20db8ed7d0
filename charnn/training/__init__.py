"""Training: the torch network, batches, loss, optimizers, schedule and the training loop."""
