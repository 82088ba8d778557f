"""Measurements of the dataset room; ``__main__.py`` runs all that has a bar to hold."""
