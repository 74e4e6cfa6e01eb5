"""A day of grid intensity steering a real Triton, shown in a terminal."""
