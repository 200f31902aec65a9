"""The claims of the published systems, one module a system: what was claimed, what was measured."""
