"""Who may use a virtual service, and how many new flows it takes: limits, lists of prefixes, and what the datapath is told of them."""
