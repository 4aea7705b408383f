"""The two tasks, retrieval and ranking, and the model that learns them together.

Taught in notebook 08.
"""
