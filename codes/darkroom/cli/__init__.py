"""The command line: parses arguments, calls the package, prints. No logic."""
