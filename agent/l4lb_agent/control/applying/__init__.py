"""From the desired state to the kernel's maps, and staying there."""
