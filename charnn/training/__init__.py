"""Training: the torch network, batches, loss, optimizers, schedule and the loop. Nothing here prints or parses options."""
