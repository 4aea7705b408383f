"""Evaluation: is it better, for whom, and are we sure? Taught in notebooks 01, 04 and 10."""
