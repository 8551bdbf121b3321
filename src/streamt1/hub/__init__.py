"""Where weights come from, and how they get here."""
