"""The command `python -m benchmarks`."""

import sys

from benchmarks import counts, growth, summary

_COMMANDS = {"growth": growth.main, "counts": counts.main}

if sys.argv[1:2] and sys.argv[1] in _COMMANDS:
    _COMMANDS[sys.argv[1]](sys.argv[2:])
else:
    summary.main(sys.argv[1:])
