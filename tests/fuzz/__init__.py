"""Mutated frames by the million: through the loaded program in the kernel, and through the same sources compiled natively under ASan and
UBSan. Both start from one world (world.py), mutate by the same rules (mutate.h) and judge every packet by the same ones (judge.h), which
share nothing with the datapath. `corpus/` holds inputs of the native fuzzer: those that it chose for what they reach, named by their
digest, and those that stay for good, such as each that ever found a mistake. `scripts/fuzz SECONDS` goes on from there.
"""
