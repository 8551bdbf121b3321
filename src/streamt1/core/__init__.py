"""What every other package speaks: types, protocols, seeds and errors."""
