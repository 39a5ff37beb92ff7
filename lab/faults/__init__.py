"""Ten faults, planted for real in a laboratory. Who knows nothing but `l4lbctl --help` finds the cause of each with two commands."""
