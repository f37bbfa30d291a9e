"""Measures of what the tool does, on media that are not in the repository.

`python -m utils.evaluate FOLDER` judges the swaps of photos; each other module is run by its own name.
"""
