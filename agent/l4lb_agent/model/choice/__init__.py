"""How a packet finds its service and a new flow its backend, besides index and rings: port ranges, source affinity."""
