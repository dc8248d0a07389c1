"""`python -m secondreader` is the command line."""

from secondreader.cli import main

main()
