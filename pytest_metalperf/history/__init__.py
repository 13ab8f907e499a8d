"""What sessions of the past measured: kept in one SQLite file, and where a workload became slower or faster."""
