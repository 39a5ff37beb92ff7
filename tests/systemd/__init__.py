"""The unit on a real systemd, booted in a container in the place of a laboratory's load balancer."""
