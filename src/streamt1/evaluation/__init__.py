"""Does it help, and what does it cost? Measurements by judges that the search does not see."""
