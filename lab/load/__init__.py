"""Load generators. Each runs as a process of its own inside the client's namespace: `python -m lab.load '{"kind": ..., ...}'`.

A generator prints one JSON line when it is under way (`{"ready": true}`), works until it is done or its standard input ends, and prints
its result as the last line. Nothing is ever tried twice: what fails is counted and told.
"""
