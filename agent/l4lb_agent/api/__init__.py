"""gRPC only: translate, authorise, answer. convert/ is the one folder that knows both protobuf and model."""

import os

# gRPC's core writes to standard error by itself, a line for each handshake that fails: whoever reaches the port could fill the log, or
# stop the agent where nobody reads it. Read when grpc is first used; set it to hear them all the same.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
