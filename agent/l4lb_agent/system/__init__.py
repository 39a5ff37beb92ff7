"""The rest of the machine: netlink, disk, clock, systemd. The only folder that imports pyroute2."""
