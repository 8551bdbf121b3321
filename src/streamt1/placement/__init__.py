"""What a machine has, and where the parts of a run go so that it fits."""
