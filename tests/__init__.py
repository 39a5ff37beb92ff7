"""Tests. Each folder is one kind; README.md says what each needs."""
