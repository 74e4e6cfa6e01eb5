"""Costs as ratios to plain references, measured in one run."""
