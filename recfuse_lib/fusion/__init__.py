"""Many dimensions of interest in one score, weighed by how much evidence there is for each.

Taught in notebook 07.
"""
