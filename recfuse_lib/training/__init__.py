"""Training: TensorBoard, gradients by task, and Keras's input pipelines."""
