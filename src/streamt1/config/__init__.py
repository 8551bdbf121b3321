"""What decides a run: presets, files, overrides, and every key's meaning."""
