"""Health: what probes say of backends, and what follows from it for new flows. Pure, as all of model/."""
