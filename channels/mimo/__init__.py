"""Several antennas: detection, spatial multiplexing, massive MIMO."""
