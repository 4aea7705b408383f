"""Encoders: what an item says, shows or sounds like, as a vector."""
