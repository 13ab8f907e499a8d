"""The values that measuring gives and judging completes."""
