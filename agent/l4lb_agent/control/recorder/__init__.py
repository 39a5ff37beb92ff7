"""The flight recorder: what happened and what was dropped, in bounded memory, for who asks and for when something goes wrong."""
