"""The parts of the product that tests replace, in memory."""
