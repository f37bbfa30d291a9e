"""See `photos`."""

import sys

from utils.evaluate.photos import main

if __name__ == "__main__":
    sys.exit(main())
