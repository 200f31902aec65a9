"""Plan -> run -> store -> resume: every operating point of a scenario, once, with the same numbers everywhere."""
