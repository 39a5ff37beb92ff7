"""Every call as a value: what to send where, and what of the answer is wanted. One module for each thing that calls are about."""
