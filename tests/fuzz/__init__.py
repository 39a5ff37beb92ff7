"""Mutated frames by the million: through the loaded program in the kernel, and through the same sources compiled natively under ASan and
UBSan. Both start from one world (world.py), mutate by the same rules (mutate.h) and judge every packet by the same ones (judge.h), which
share nothing with the datapath. `corpus/` holds inputs of the native fuzzer; each that ever found a mistake stays there for good.
"""
