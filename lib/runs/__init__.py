"""The long computations: one engine, and one small module for each table in results/."""

import sys

from lib.runs.options import stop_on_signals

if sys.argv[0] == "-m":  # python -m lib.runs...: the imports, which take seconds, can be stopped, too
    stop_on_signals()
