"""What is true about klines: days, chunks, coverage, verification. Knows no Dagster, no HTTP server, no terminal."""
