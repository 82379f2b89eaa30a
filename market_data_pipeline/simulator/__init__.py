"""A simulated Binance exchange: REST and archive over HTTP, independent of the rest of the package."""
