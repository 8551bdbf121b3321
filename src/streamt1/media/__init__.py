"""Pixels for people: sizes, sheets, thumbnails, video files and fragments."""
