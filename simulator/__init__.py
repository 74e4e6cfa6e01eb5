"""Intensity and request traces through the policies that serve."""
