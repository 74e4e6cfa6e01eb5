"""The HTTP front: Triton's REST routes, for models and families."""
