"""What is asked: workloads, the models that go by name, builders of the user's own."""
