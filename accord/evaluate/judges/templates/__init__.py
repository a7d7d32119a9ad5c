"""What language models are asked as judges: files that accord.evaluate.judges.template reads."""
