"""Flows one by one: what is kept of each and which are wanted (record.py), and what very many of them are together (tally.py)."""
