"""When things happen: loops and their order. Effects come in through constructors; ports.py holds their Protocols."""
