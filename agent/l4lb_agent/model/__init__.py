"""Pure values and decisions: no I/O, clock, random, logging, protobuf or bcc. Time is an argument; decisions return data."""
