"""``python -m elegans.cli``."""

from elegans.cli import main

main()
