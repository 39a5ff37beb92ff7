"""Real kernel, real nginx, real agent, in network namespaces."""
