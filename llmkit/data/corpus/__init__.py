"""A dataset of texts, built in shards: each document through the steps, all of them compared, what is left split."""
