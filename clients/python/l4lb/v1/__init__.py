"""Generated from proto/l4lb/v1 by scripts/generate."""
