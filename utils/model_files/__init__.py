"""Model files that do not ship with the repository: which there are, whether they are whole, and how they are fetched when asked for."""
