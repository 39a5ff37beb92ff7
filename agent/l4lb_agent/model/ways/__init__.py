"""Ways out to backends and clients: whether there is one, what fits into it, which tag it takes. Pure, as all of model/."""
