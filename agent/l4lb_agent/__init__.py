"""l4lb-agent: owns the XDP program and its pinned maps, and offers the gRPC API.

Imports run one way: __main__ -> api -> control -> model; dataplane and system see only model; __main__ hands them to control.
"""

__version__ = "0.1.0"
