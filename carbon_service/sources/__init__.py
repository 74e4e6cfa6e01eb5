"""Where intensities come from: one small module per provider, behind one protocol."""
