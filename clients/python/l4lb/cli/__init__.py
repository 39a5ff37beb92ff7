"""l4lbctl: the command line of l4lb. Uses nothing but the public API (l4lb.Client).

Only click is imported when a module here is: gRPC, rich and yaml come when a command needs them, so that --help and completion stay quick.
"""
