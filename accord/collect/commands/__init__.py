"""The commands `accord collect ...`."""
