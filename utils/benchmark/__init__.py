"""How fast the tool is, and what that is measured against."""
