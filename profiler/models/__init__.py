"""Models for a Triton repository: exported, quantised, and written the way Triton looks for them."""
