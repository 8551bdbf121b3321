"""Streaming video models behind the ``Backbone`` protocol."""
