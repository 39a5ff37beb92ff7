"""What is measured, for Prometheus: families.py names every series, fill.py takes them from one look at the agent, text.py writes them,
endpoint.py answers scrapes. The only folder that imports prometheus_client; nothing here can change anything."""
