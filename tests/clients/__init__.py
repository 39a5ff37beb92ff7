"""The clients in Python, Go and TypeScript against real agents. Those of a language whose toolchain is missing skip."""
