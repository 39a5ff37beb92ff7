"""What captures ask the datapath for, and what they are given."""
