# SPDX-License-Identifier: Apache-2.0
# Every command is scripts/NAME; this file only forwards, so that `make test` works too.
COMMANDS := setup preflight demo lab test check bench generate install uninstall deb
.PHONY: $(COMMANDS)
$(COMMANDS):
	@scripts/$@ $(ARGS)
