"""Alembic wants this file; migrations are run by accord.collect.migrate, not by alembic's own command."""
