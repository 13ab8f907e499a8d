"""The page of --metal-html and of `python -m pytest_metalperf report`: one file that needs no network."""
