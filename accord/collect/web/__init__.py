"""The site: pages and JSON API over a labelling database."""
