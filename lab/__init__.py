"""Laboratories of network namespaces: a client, a load balancer, backends and a controller on one machine. Demo and tests share them."""
