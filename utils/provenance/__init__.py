"""What outputs say of themselves, to machines and to people, and how that is read again."""
