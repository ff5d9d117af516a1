"""Other servers for text classifiers: their requirements, command lines and requests."""
