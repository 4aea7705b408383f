"""Training: optimizers, callbacks, gradients by task, devices, and a search with the same budget for every model."""
