"""Data: what people did and what they did it to, checked before any model sees it. Taught in notebook 01."""
