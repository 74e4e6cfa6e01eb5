"""What the rolling range is, and which variant (or mix) answers now."""
