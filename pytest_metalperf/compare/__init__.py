"""Two finished sessions, judged by the gate from their files alone."""
