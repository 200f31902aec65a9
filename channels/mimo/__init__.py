"""Several antennas: detection, spatial multiplexing, massive MIMO."""

from channels.mimo import massive, spatial  # noqa: F401  (each registers its channels)
