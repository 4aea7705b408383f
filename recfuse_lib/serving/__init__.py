"""Serves a trained model, and learns from the service's events. Taught in notebooks 18 and 19."""
