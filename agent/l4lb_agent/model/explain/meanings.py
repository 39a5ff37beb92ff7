"""What each reason means and what to do about it: scripts/generate makes the table of docs/reasons.md of it."""

from collections.abc import Mapping
from typing import Final

from l4lb_agent.model.reasons import Reason

# reason: (what happened, what to do)
MEANINGS: Final[Mapping[Reason, tuple[str, str]]] = {
    Reason.UNSPECIFIED: (
        "Never counted by a sound datapath.",
        "Report it: a packet took a road that should not exist.",
    ),
    Reason.NOT_IP: (
        "Passed to the host, untouched: neither IPv4 nor IPv6, or ARP that is not a request for an owned address. Also an ARP broadcast "
        "on an interface whose MAC the agent has not written yet.",
        "Nothing.",
    ),
    Reason.FOREIGN: (
        "Passed to the host, untouched: the destination is no virtual address and no SNAT address; or a neighbour solicitation was in a "
        "frame for another station.",
        "Nothing.",
    ),
    Reason.LOCAL: (
        "Passed to the host, untouched: for an owned address that is also an address of this host, and no business of a virtual service.",
        "Better give VIPs and SNAT addresses to no interface: in a gap the host would answer for them.",
    ),
    Reason.FLOW_CREATED: (
        "The first packet of a new flow, sent to its backend.",
        "Nothing; this is the rate of new flows.",
    ),
    Reason.TO_BACKEND: (
        "A packet of a known flow, sent to its backend.",
        "Nothing.",
    ),
    Reason.TO_CLIENT: (
        "A backend's packet, sent to the flow's client.",
        "Nothing.",
    ),
    Reason.ICMP_TO_BACKEND: (
        "An ICMP error about a packet to a client, sent to the backend of the flow that it quotes.",
        'Nothing; "packet too big" is how paths with smaller MTUs are found.',
    ),
    Reason.ICMP_TO_CLIENT: (
        "An ICMP error about a packet to a backend, sent to the client of the flow that it quotes.",
        "Nothing in small numbers; many say that a backend's port is closed or a router on the way to it has no route.",
    ),
    Reason.ARP_ANSWERED: (
        "An ARP request for an owned address, answered.",
        "Nothing.",
    ),
    Reason.NEIGHBOUR_ANSWERED: (
        "An IPv6 neighbour solicitation for an owned address, answered.",
        "Nothing.",
    ),
    Reason.RST_ANSWERED: (
        "A TCP packet that is no SYN and belongs to no flow, answered by RST so that its sender learns at once. Normal.",
        "Many after a restart of the machine: clients whose flows are gone. Many otherwise: flows idle for longer than `idle_seconds`, "
        "or a scan.",
    ),
    Reason.DRAIN_RESET: (
        "The flow's backend ended its drain with RESET: its client and the backend are told by RST.",
        "Nothing: it was asked for.",
    ),
    Reason.ECHO_ANSWERED: (
        "An ICMP echo request (ping) for a VIP, answered.",
        "Nothing.",
    ),
    Reason.TOO_BIG_ANSWERED: (
        'The packet is longer than the MTU of its way out, outer headers included: its sender is told what fits, by ICMP "fragmentation '
        'needed" or ICMPv6 "packet too big". Normal: path MTU discovery.',
        "A high rate that stays: something on the way to the sender drops ICMP; clamp the MSS.",
    ),
    Reason.NO_BACKEND_ANSWERED: (
        "As NO_BACKEND, and the client was told by RST or ICMP, as `on_empty` of the virtual service says.",
        "Add or enable a backend, give one weight, or mend one whose health is DOWN.",
    ),
    Reason.MALFORMED: (
        "A header ended where it had to be rewritten, or the driver gave no room for an answer. Cannot be: lengths are checked before.",
        "Report it.",
    ),
    Reason.IP_OPTIONS: (
        "IPv4 options or IPv6 extension headers towards an owned address that cannot be taken along: what records addresses on its way "
        "(record route, timestamp) through NAT; AH, mobility, HIP, Shim6, a home address; any of them with ICMP.",
        "Find who sends them; hosts do not by themselves.",
    ),
    Reason.FRAGMENT: (
        "A later fragment whose first one has not come, was not forwarded, or came more than five seconds ago. Normal in small numbers: "
        "fragments that overtook their first.",
        "A high rate: a flood of fragments, or paths that reorder. Better avoid fragments: a lower MTU or message size at the sender "
        "(large UDP).",
    ),
    Reason.TTL_EXCEEDED: (
        "TTL or hop limit would reach zero. Normal: traceroute.",
        "A high rate: a routing loop.",
    ),
    Reason.PROTOCOL_UNSUPPORTED: (
        "Towards an owned address, and neither TCP nor UDP nor ICMP.",
        "Nothing.",
    ),
    Reason.ICMP_UNSUPPORTED: (
        "ICMP towards an owned address, and neither an echo request nor an error about a packet: redirects, source quench, replies "
        "nobody asked for. Normal.",
        "Nothing.",
    ),
    Reason.NO_SERVICE: (
        "For a VIP, and no virtual service has that port and protocol. Normal: scans.",
        "Create the virtual service, or mind the port.",
    ),
    Reason.NO_BACKEND: (
        "The virtual service has no backend for new flows.",
        "Add or enable a backend, give one weight, or mend one whose health is DOWN.",
    ),
    Reason.BACKEND_UNRESOLVED: (
        "The next hop of the flow's backend is not known, or the VLAN device has gone by which a packet, also to a client, was to leave.",
        "Is the backend up, is there a route, does it answer ARP or neighbour solicitations?",
    ),
    Reason.RST_LIMITED: (
        "As RST_ANSWERED, but this CPU's RSTs of the second are spent: dropped silently.",
        "A flood of packets without flow.",
    ),
    Reason.NO_FLOW: (
        "For a SNAT address, and no flow has that port; or a RST without flow; or the late answer of a backend whose client has gone on "
        "to another, or the SYN+ACK of one that the ring has left. Normal.",
        "A high rate: flows expire earlier than backends think; raise `idle_seconds`.",
    ),
    Reason.NO_SOURCE_PORT: (
        "None of eight SNAT ports towards the backend is free, or was just now, nor is another; no unanswered flow gives one up.",
        "Add SNAT addresses: each gives 64,512 flows to every backend.",
    ),
    Reason.NO_SNAT_ADDRESS: (
        "No SNAT address of the packet's family is configured.",
        "Add one to `agent.toml`.",
    ),
    Reason.FLOW_TABLE_FULL: (
        "The flow table is full: new flows are refused, old ones go on.",
        "Raise `flows` under `[sizes]`, or find the flood.",
    ),
    Reason.MTU_EXCEEDED: (
        "The packet is longer than the MTU of its way out, outer headers included, and its sender cannot be told: an IPv4 packet that "
        "may be fragmented, an ICMP error, a sender that cannot be, or a way so narrow that nothing may be told (below 576 bytes for "
        "IPv4, 1280 for IPv6).",
        "Equal MTUs on both sides, `mtu` of the backend, or a smaller MSS.",
    ),
    Reason.TAIL_CALL_FAILED: (
        "A program of the datapath is missing in its tail-call array.",
        "Restart the agent; report it.",
    ),
    Reason.FLOW_CUT: (
        "From a backend whose drain ended with CUT, or for UDP with RESET: its flows are over.",
        "Nothing: it was asked for.",
    ),
    Reason.CLOSED: (
        "A late duplicate of the SYN of a flow that has closed. Normal.",
        "Nothing.",
    ),
    Reason.ICMP_MALFORMED: (
        "ICMP whose lengths cannot be, an error that quotes no IP packet of its addressee or less than 8 bytes of the packet's transport "
        "header, an echo request whose checksum is wrong.",
        "A broken or hostile sender.",
    ),
    Reason.ICMP_FRAGMENT: (
        "A fragment of an ICMP message: none is put together here, and none of those that we need is ever that long.",
        "Smaller pings.",
    ),
    Reason.ICMP_NO_FLOW: (
        "An ICMP error that quotes no live flow, or a later fragment, which has no ports, or neither TCP nor UDP. Normal: errors about "
        "flows that are over.",
        "A high rate: somebody forges errors; none of them reaches anybody.",
    ),
    Reason.ICMP_MTU_TOO_SMALL: (
        '"Packet too big" with an MTU below 1280 (IPv6) or 68 (IPv4), which no link may have.',
        "A broken or hostile router.",
    ),
    Reason.ECHO_REFUSED: (
        "An ICMP echo request for a SNAT address, or for a VIP that is not to answer now (`echo` in `agent.toml`).",
        "Is a backend of that VIP enabled, with weight and next hop?",
    ),
    Reason.ECHO_LIMITED: (
        "As ECHO_ANSWERED, but this CPU's answers of the second are spent (`icmp_rate`): dropped silently.",
        "A flood of pings.",
    ),
    Reason.VERSION_WRONG: (
        "Towards an owned address, with an IP version that the EtherType does not have, or an IPv4 header of less than 20 bytes.",
        "A broken or hostile sender.",
    ),
    Reason.LENGTH_WRONG: (
        "Towards an owned address, with a total, payload or UDP length beyond what is there or below what must be, or a cut TCP or UDP "
        "header.",
        "A broken or hostile sender; a frame cut on the way.",
    ),
    Reason.CHECKSUM_WRONG: (
        "Towards an owned address, with a wrong IPv4 header checksum; or UDP over IPv6 without checksum (RFC 8200 8.1).",
        "Bits that fall over on the way, when it is not a broken sender: look for errors of links and memory.",
    ),
    Reason.TCP_OFFSET_WRONG: (
        "A TCP data offset below 20 bytes or beyond the segment.",
        "A broken or hostile sender.",
    ),
    Reason.TCP_FLAGS_WRONG: (
        "TCP flags that nobody sends together: none, FIN without ACK, SYN with FIN or RST, RST with FIN, all. Normal: scans.",
        "Nothing.",
    ),
    Reason.SOURCE_MARTIAN: (
        "The source is one that no host on a network has: 0.0.0.0/8, 127.0.0.0/8, 224.0.0.0/3, ::/32, ff00::/8; or, of what would be "
        "sent on, a link-local one (169.254.0.0/16, fe80::/10).",
        "Filter such sources at the edge (BCP 38). A client that has only a link-local address needs another one.",
    ),
    Reason.SOURCE_OWNED: (
        "The source is a VIP or a SNAT address of this load balancer, which never come in from outside.",
        "A forger; or a second load balancer or host that has the same address.",
    ),
    Reason.FRAME_FOREIGN: (
        "Towards an owned address, in a frame for another station, for a group or from a group address. Normal: a switch floods frames "
        "for stations that it does not know.",
        "A high rate: a switch that never learns where the backends are, or a host with a wrong static neighbour. All of a VIP's traffic: "
        "it is sent to another MAC than that of the interface with the program, to the virtual one of VRRP, say, or to that of a VLAN "
        "device which has one of its own; VRRP without a virtual MAC, and `ip link set dev VLAN address` of the interface's, cure it.",
    ),
    Reason.NO_BACKEND_LIMITED: (
        "As NO_BACKEND_ANSWERED, but this CPU's answers of the second are spent (`rst_rate`, `icmp_rate`): dropped silently.",
        "Add or enable a backend, give one weight, or mend one whose health is DOWN.",
    ),
    Reason.NEW_FLOWS_LIMITED: (
        "The packet would start a flow, and the virtual service takes no more new ones now (`new_flow_limit.per_service`).",
        "A flood, or a limit that is too low: FLOW_CREATED is the rate that passes.",
    ),
    Reason.SOURCE_LIMITED: (
        "The packet would start a flow, and the virtual service takes no more new ones from the prefix of its source now "
        "(`new_flow_limit.per_source`).",
        "A flood, or many clients behind one address: a higher limit, or longer prefixes.",
    ),
    Reason.DENIED: (
        "From or to a client in the virtual service's deny list.",
        "Nothing: it was asked for. When it was not, look for the client's address in the list.",
    ),
    Reason.NOT_ALLOWED: (
        "From or to a client that is not in the virtual service's allow list.",
        "Nothing: it was asked for. When it was not, add the client's prefix to the list.",
    ),
    Reason.NO_HEADROOM: (
        "There is no room before the packet for an outer header, or for the headers of an ICMP error about it: the driver leaves too "
        "little.",
        "Another driver or mode of attachment; 256 bytes are usual.",
    ),
    Reason.CLIENT_PORT_TAKEN: (
        "With `client_address: KEEP`: the client's address and port have another flow at that backend port. Normal: clients try again.",
        "Give each virtual service a backend port of its own, or let it translate (`client_address: TRANSLATE`).",
    ),
    Reason.CLIENT_IS_BACKEND: (
        "With `client_address: KEEP`: would start a flow of a client that is itself a backend, which would be answered directly.",
        "Let the virtual services that backends use translate (`client_address: TRANSLATE`).",
    ),
    Reason.NOT_A_REPLY: (
        "Passed to the host, untouched: from a backend with `client_address: KEEP`, and of no flow. Normal: backends' own traffic.",
        "Nothing. When they should be replies, flows expire earlier than backends think: raise `idle_timeout`.",
    ),
    Reason.VLAN_FOREIGN: (
        "Passed to the host, untouched: a frame with the tag of a VLAN of which there is no VLAN device on the interface that "
        "it came by.",
        "Nothing; or `ip link add` the VLAN, if its packets are to be balanced.",
    ),
    Reason.VLAN_STACKED: (
        "Passed to the host, untouched: a frame with more than two tags (802.1Q or 802.1ad).",
        "Nothing; or take the outermost tag off before.",
    ),
    Reason.TOO_BIG_LIMITED: (
        "As TOO_BIG_ANSWERED, but this CPU's answers of the second are spent (`icmp_rate`): dropped silently.",
        "As TOO_BIG_ANSWERED, or a flood.",
    ),
    Reason.SOURCE_ROUTED: (
        "An IPv4 loose or strict source route; an IPv6 routing header of type 0 (RFC 5095), or of any type that is not at its end.",
        "Nobody uses these but to go around filters.",
    ),
    Reason.OPTIONS_WRONG: (
        "An IPv4 option or IPv6 extension header, or an option in one, that is longer than what holds it or shorter than it can be.",
        "A broken or hostile sender.",
    ),
    Reason.HEADER_ORDER: (
        "IPv6 extension headers against RFC 8200 4.1: hop-by-hop options not in the first place, a routing header after the fragment "
        "header, any of them once more (destination options may come twice).",
        "A broken or hostile sender.",
    ),
    Reason.HEADERS_TOO_MANY: (
        "More than six IPv6 extension headers, more than 256 bytes of them, or more than 24 options in one.",
        "A hostile sender; routers drop such packets, too (RFC 9098).",
    ),
    Reason.FRAGMENT_TINY: (
        "A first fragment that does not hold all headers up to TCP's or UDP's end (RFC 1858, RFC 7112).",
        "A hostile sender.",
    ),
    Reason.FRAGMENT_OVERLAP: (
        "A fragment that brings again what the first one brought, or a first one with other ports than the one before it.",
        "A hostile sender.",
    ),
    Reason.FRAGMENT_WRONG: (
        "An empty fragment, one that is not the last and no multiple of 8 bytes, or one that ends beyond 65,535 bytes.",
        "A broken or hostile sender.",
    ),
}  # fmt: skip
