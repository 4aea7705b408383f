"""Towers: what a person's interest and an item look like in each dimension.

Taught in notebooks 04 to 06.
"""
