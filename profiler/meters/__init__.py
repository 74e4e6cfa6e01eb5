"""What a machine has to measure energy with, behind one protocol."""
