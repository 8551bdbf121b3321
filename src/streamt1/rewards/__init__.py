"""Rewards: pixels and text in, scores out."""
