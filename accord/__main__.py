"""`python -m accord`, as `torchrun -m accord` needs it."""

import sys

from accord.cli import main

if __name__ == "__main__":
    sys.exit(main())
