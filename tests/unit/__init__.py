"""Pure decisions and the agent over fakes: no root, no kernel, no network."""
