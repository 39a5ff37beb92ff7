"""Real gRPC on a Unix socket, with a fake behind it."""
