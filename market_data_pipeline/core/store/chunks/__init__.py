"""The chunk files of a dataset: one Parquet file for each local day.

Belongs here: the encoding of klines and footer, preparing, reading and publishing them, their list, their hashes. Does
not belong here: the dataset that they are of (`store.dataset_store`), reading many as one (`store.combined`).
May import: the other modules of `core.store` but `dataset_store` and `root`, `core.klines`, `core.errors`.
"""
