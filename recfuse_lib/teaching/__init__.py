"""What the notebooks use to teach: figures, exercise checks, the leaderboard, the environment check.

Nothing else in the library depends on this package.
"""
