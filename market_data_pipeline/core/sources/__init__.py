"""Where klines come from. The only part of the package that talks to the network."""
