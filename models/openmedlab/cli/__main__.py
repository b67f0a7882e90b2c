"""``python -m openmedlab.cli``."""

from openmedlab.cli import main

main()
