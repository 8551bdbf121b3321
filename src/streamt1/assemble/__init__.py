"""From a configuration to objects, and from objects to a run."""
