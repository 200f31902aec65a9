"""Hardware that is not ideal, as wrappers around any channel."""
