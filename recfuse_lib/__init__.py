"""RecFuse: recommendations that fuse many dimensions of interest with the help of a language model.

The library of the course in ``notebooks/``. Heavy frameworks are imported only when they are used.
"""

__version__ = "0.1.0"
