"""From results to a verdict: what the gate is given, how often it looks, what is stored."""
