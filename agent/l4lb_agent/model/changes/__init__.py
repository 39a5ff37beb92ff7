"""How a request becomes a change of the desired state, or a refusal: commands come in, decisions go out. Pure, as all of model/."""
