"""The reference suite: `pytest --pyargs pytest_metalperf.suite`."""
