"""How runs come about: fresh processes, pairs in turn, live steps, and how long all of that will take."""
