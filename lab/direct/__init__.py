"""Backends that answer clients directly (DSR, ENCAP): what they need beside their server. docs/backends.md says the same for real ones.

Nothing here knows the load balancer: a backend is ready for whatever reaches it by its MAC address or inside an outer header.
"""
