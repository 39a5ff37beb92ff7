"""The demo: real HTTP through a real agent, and every promise about it checked. `python -m lab.demo`."""
