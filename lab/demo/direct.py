"""Step 3 of modes whose backends answer clients directly: their replies do not come by the load balancer."""

from dataclasses import dataclass
from typing import Final

from l4lb.v1.reason_pb2 import Verdict
from lab.demo.stage import Stage
from lab.topology import BACKENDS, FAMILIES

_ACKNOWLEDGEMENTS: Final = 0.1  # of the bytes of a download, at most: the client's packets do pass


@dataclass(frozen=True)
class Sent:
    """Bytes that the load balancer has sent so far."""

    interfaces: int  # by the kernel's counters
    datapath: int  # by our own
    clients: int  # those on their way back to clients among them

    @classmethod
    def read(cls, stage: Stage) -> "Sent":
        """Now."""
        [sample] = stage.client.stats(interval=1, samples=1)
        datapath = sum(row.bytes for row in sample.reasons if row.verdict in (Verdict.VERDICT_TX, Verdict.VERDICT_REDIRECT))
        return cls(stage.lab.sent_by_balancer(), datapath, sum(service.traffic.bytes_out for service in sample.services))

    def since(self, before: "Sent") -> "Sent":
        """What has come since then."""
        return Sent(self.interfaces - before.interfaces, self.datapath - before.datapath, self.clients - before.clients)


def direct(stage: Stage) -> None:
    """A download of each family, with the load balancer's transmit counters before and after."""
    stage.checks.step("replies go from the backend to the client, past the load balancer")
    stage.score.direct = ",".join(f"v{family}:{100 * _download(stage, family):.1f}%" for family in FAMILIES)
    client = stage.lab.topology.host("client")
    sources = {line.split()[3] for name in BACKENDS for line in stage.lab.nginx[name].logged("direct")}
    stage.checks.equal("backends see the client's own addresses", sources, {client.v4, client.v6})
    for name, backend in stage.lab.direct.items():
        stage.checks.note(f"backend-{name}: {backend.taken()} packets taken out of outer headers")


def _download(stage: Stage, family: int) -> float:
    """The bytes that its interfaces sent, as a share of those of the download."""
    checks, lab = stage.checks, stage.lab
    before = Sent.read(stage)
    load = lab.traffic.download(lab.topology.vip().of(family), "/bulk.bin", "direct")
    result = stage.count(load.result(), f"download over IPv{family}")
    sent, size = Sent.read(stage).since(before), result["bytes"]
    checks.that(f"IPv{family}: sha256 of the download", result["sha256"] == lab.digests["bulk.bin"], result["sha256"][:16])
    for where, count in (("interfaces", sent.interfaces), ("own counters", sent.datapath)):
        seen = f"{count} bytes while {size} were downloaded"
        checks.that(f"IPv{family}: the load balancer's {where} sent acknowledgements only", 0 < count < _ACKNOWLEDGEMENTS * size, seen)
    checks.equal(f"IPv{family}: bytes counted on the way back to clients", sent.clients, 0)
    return float(sent.interfaces / size)
