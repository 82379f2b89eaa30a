"""Side-by-side measurements: `python -m benchmarks [NAMES] [--quick]`; results in docs/benchmarks.md."""
