"""What Prometheus is given, and what is made of it: no root, promtool from the cache."""
