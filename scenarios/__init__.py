"""The shipped scenarios: YAML files that ``semcom run NAME`` finds. The first thing to read and copy."""
