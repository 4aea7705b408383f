"""Recommenders: baselines, towers, the joint and the fused model, with their losses and what they hold out.

They answer any history, of a known person or not; `recfuse_lib.evaluation.metrics.evaluate` masks what it holds.
Taught in notebooks 04 to 08.
"""
