"""What becomes of a packet, and why: the road of bpf/ told step by step from what the maps hold. Pure, as all of model/."""
