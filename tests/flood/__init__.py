"""Floods from spoofed sources, as fast as the bed can: established flows stay alive at their backends while backends come and go, innocent
clients get through, and the counters tell who was who. L4LB_FLOOD_SECONDS is how long each lasts, 4 by default.
"""
