"""``python -m streamt1``: the same as the command."""

from streamt1.cli.entry import main

main()
