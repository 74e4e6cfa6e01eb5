"""Where the intensity comes from, whether it is plausible, and who has heard it."""
