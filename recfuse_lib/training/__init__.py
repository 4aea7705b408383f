"""Training: how models are tuned, each with the same budget.

Taught in notebooks 04, 09 and 11.
"""
