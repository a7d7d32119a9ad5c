"""Results as a page: one self-contained HTML file, and `accord report`, which makes one of runs and results."""
