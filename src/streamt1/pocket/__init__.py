"""The procedural world that the pocket model was trained on: its words, its scenes and renders, and its oracle."""
