"""Reward against distance from the model: which policies each method gives, and what is measured of them."""
