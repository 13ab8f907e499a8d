"""What is wrong with an environment, and the fix."""
