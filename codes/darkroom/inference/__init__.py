"""Running trained networks: weights files, tiles, self-ensemble, folders."""
