"""`python -m market_data_pipeline` is `market-data`."""

from market_data_pipeline.cli.main import main

main()
