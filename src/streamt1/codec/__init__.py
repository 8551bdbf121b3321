"""Latents to pixels, and pixels to files."""
