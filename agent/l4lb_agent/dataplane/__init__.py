"""The kernel's side of the datapath. The only folder that imports bcc, calls bpf(2) or knows about pins."""
