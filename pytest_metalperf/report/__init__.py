"""What people and machines read: reports look at results and never measure."""
