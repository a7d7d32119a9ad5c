"""Files -> groups -> tokens."""
