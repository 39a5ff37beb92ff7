"""gRPC only: translate, authorise, answer. convert.py is the one file that knows both protobuf and model."""
