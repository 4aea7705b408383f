"""A simulated shop over real product photographs, whose truth is known because we wrote it. Taught in notebook 01."""

from recfuse_lib.data.market.shoppers import Weights
from recfuse_lib.data.market.simulator import Market, Truth, make

__all__ = ["Market", "Truth", "Weights", "make"]
