"""What callers are told of rings, flows and the agent: read and counted, nothing decided and nothing changed."""
