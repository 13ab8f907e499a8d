"""What is compared with other than a stored figure: another interpreter, another revision, the packages of a stack."""
