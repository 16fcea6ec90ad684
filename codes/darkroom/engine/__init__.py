"""The machinery of training: loop, players, checkpoints, validation, logs. Knows no model and no option file."""
