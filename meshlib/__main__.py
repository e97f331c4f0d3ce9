"""``python -m meshlib``: the same as the command ``meshlib``."""

from meshlib.cli import main

main()
