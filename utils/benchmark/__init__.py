"""How fast and how large a swap is: `python inference.py --benchmark`."""
