"""Classical picture codecs, the decision at the transmitter, and the reference rows."""
