"""The command line: ``streamt1 generate | train | card | presets``."""
