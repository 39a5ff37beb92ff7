"""The benchmark's own checks with tiny counts: verdicts and shape, never speed."""
