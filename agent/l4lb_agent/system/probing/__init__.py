"""Probes of backends: what one attempt does on the wire. Prober.probe() is the way in; each kind is a coroutine that returns what it saw,
or raises Failed. Probes of a VIP go by passage.py. Sockets live here alone, never longer than their probe, and what a backend sends is
bounded, and never trusted."""
