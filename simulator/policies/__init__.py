"""Policies to compare with: never served, only simulated."""
