"""Recommenders: simple ones, towers, the joint and the fused model, with their losses and what they hold out.

Those that are fitted in closed form have `fit(history, items)`, all have `score(queries)`; they answer any history,
known person or not, and leave the masking of it to `recfuse_lib.evaluation.metrics.evaluate`.

Taught in notebooks 04 to 08.
"""
