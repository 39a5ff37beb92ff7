"""Flows one by one: what is kept of each and which are wanted (record.py), what very many of them are together (tally.py), and how the maps
find, free and count NAT's (layout.py)."""
