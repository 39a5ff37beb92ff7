"""Health checks: when backends are probed, and what is made of it."""
