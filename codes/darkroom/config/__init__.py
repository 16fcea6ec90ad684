"""Option files: reading, checking, and the spellings of other frameworks."""
