"""Flow state in the kernel: what the agent reads, counts and frees of it."""
