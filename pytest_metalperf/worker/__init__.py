"""What runs where the training runs: standard library, numpy, Keras and one framework; nothing of pytest."""
