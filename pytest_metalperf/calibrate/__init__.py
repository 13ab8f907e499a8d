"""How noisy this machine is, and what the gate can see through that."""
