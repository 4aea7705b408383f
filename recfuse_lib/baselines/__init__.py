"""Strong simple baselines, tuned with the same budget as our own models.

Every one has `fit(history, n_items)` and `score(queries)`, answers any history (known person or not), and leaves the
masking of the history to `recfuse_lib.evaluation.metrics.evaluate`.

Taught in notebook 04.
"""
