"""From a configuration to models, and from a prompt to a run on disk."""
