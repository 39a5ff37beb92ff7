"""The real program on real packets: BPF_PROG_TEST_RUN, scapy in, bytes out. Needs root; no network, no traffic, no clock."""
