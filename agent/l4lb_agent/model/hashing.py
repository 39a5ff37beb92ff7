"""The datapath's two keyed hashes, bit for bit as bpf/hash.h computes them.

Multiply-mix with a 128-bit secret (the folded 64x64 -> 128 multiplication of wyhash and its kin would need a wide multiply, which BPF
lacks; two rounds of xor, multiply, shift are used instead, with the finalising constants of splitmix64, Steele et al. 2014).
"""

from l4lb_agent.model import layout

MASK = (1 << 64) - 1
_M1, _M2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mix(a: int, b: int, secret: tuple[int, int]) -> int:
    """64-bit hash of two 64-bit words under a 128-bit secret."""
    x = ((a ^ secret[0]) * _M1) & MASK
    x ^= x >> 32
    x = ((x ^ b ^ secret[1]) * _M2) & MASK
    x ^= x >> 29
    x = (x * _M1) & MASK
    return x ^ (x >> 32)


def words(packed: bytes) -> tuple[int, int]:
    """The two host-order (little-endian) 64-bit words of a 16-byte address."""
    return int.from_bytes(packed[:8], "little"), int.from_bytes(packed[8:], "little")


def owned_bit(address: bytes) -> int:
    """Which of the 256 bits of config.owned_filter an address has."""
    first, second, third, fourth = (int.from_bytes(address[at : at + 4], "little") for at in range(0, 16, 4))
    return ((first ^ second ^ third ^ fourth) * 0x9E3779B1 & 0xFFFFFFFF) >> 24


def address_hash(address: bytes, secret: tuple[int, int]) -> int:
    """Hash that places an address in `index`."""
    return mix(*words(address), secret)


def index_hash(address: bytes, port: int, protocol: int, secret: tuple[int, int]) -> int:
    """Hash that places a service in `index`. First bucket: hash & mask; second:
    (hash >> 16) & mask (xor 1 when equal to the first); tag: hash >> 32."""
    return mix(address_hash(address, secret), (port << 8 | protocol) & MASK, secret)


def tuple_hash(client: bytes, vip: bytes, client_port: int, vip_port: int, protocol: int, secret: tuple[int, int]) -> int:
    """64-bit hash of a 5-tuple; ports are host-order numbers. The upper 32 bits pick the slot of a service that hashes the whole tuple,
    outer headers are spread by the lower."""
    return mix(addresses_hash(client, vip, secret), client_port << 32 | vip_port << 16 | protocol, secret)


def addresses_hash(client: bytes, vip: bytes, secret: tuple[int, int]) -> int:
    """64-bit hash of source and destination. Its upper 32 bits pick the slot of a service that hashes both."""
    c, v = words(client), words(vip)
    return mix(c[1] ^ ((v[0] * _M2) & MASK), c[0] ^ v[1], secret)


def source_hash(client: bytes, secret: tuple[int, int]) -> int:
    """64-bit hash of a source. Its upper 32 bits pick the slot of a service that hashes sources alone."""
    high, low = words(client)
    return mix(high, low, secret)


def slot_hash(
    client: bytes, vip: bytes, client_port: int, vip_port: int, protocol: int, secret: tuple[int, int], kind: int = layout.HASH_TUPLE
) -> int:
    """The 32 bits that pick a flow's slot by the service's `kind` of hash (HASH_*). The slot is (hash * ring size) >> 32."""
    if kind == layout.HASH_SOURCE:
        return source_hash(client, secret) >> 32
    if kind == layout.HASH_SOURCE_DESTINATION:
        return addresses_hash(client, vip, secret) >> 32
    return tuple_hash(client, vip, client_port, vip_port, protocol, secret) >> 32
