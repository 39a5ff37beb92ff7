"""dataplane/ and system/ against the running kernel: root, own bpffs, own network namespaces."""
