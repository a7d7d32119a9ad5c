"""The versions of the labelling database."""
