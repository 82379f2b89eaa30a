"""`python -m market_data_pipeline` runs the command line, like `market-data`."""

from market_data_pipeline.cli.main import main

main()
