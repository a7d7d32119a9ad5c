"""Who says which of two answers is better: reward models, classifiers, Python functions, language models."""
