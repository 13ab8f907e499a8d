"""Which commit made training slower, by pairs between revisions."""
