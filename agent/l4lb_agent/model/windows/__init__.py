"""What a change puts at risk, and for how long: rings `now` and `before` of services that track flows. Pure, as all of model/."""
