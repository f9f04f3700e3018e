"""The matrix: a model exported to everything that works here, verified and timed, in one table."""
