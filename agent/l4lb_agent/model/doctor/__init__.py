"""What the doctor finds: facts in (facts.py), findings out (examine.py). What is looked at is a scope; each concern has its file."""
