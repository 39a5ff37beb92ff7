"""The API over TCP: certificates, roles, limits. Loopback only, every load bounded."""
